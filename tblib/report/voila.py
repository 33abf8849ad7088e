"""Voila server of the panel's page, whose kernels end with their page; `serve.app` starts it."""

from asyncio import sleep
from datetime import UTC, datetime
from typing import Any

from jupyter_core.utils import ensure_async
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from traitlets import Integer
from voila.app import Voila
from voila.tornado.handler import TornadoVoilaHandler

DARK = '<meta name="color-scheme" content="light dark">'  # scroll bars and the like


class PageKernels(AsyncMappingKernelManager):
    """Kernels that end soon after their page is gone, even if it sent no notice.

    A killed browser sends none, nor does a page left before it was ready. Busy kernels and open pages keep running.
    """

    cull_idle_timeout = Integer(45, config=True, help="Seconds that a kernel waits for its page to return.")
    cull_interval = Integer(10, config=True, help="Seconds between checks.")

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._counted = set[str]()  # kernels that a page has been given

    async def cull_kernel_if_idle(self, kernel_id: str) -> None:
        """Count from the first check: a kernel kept ready for the next page, which Voila spares, may be old by then."""
        if kernel_id in self._counted:
            await super().cull_kernel_if_idle(kernel_id)
            return
        self._counted.add(kernel_id)
        self.get_kernel(kernel_id).last_activity = datetime.now(UTC)  # type: ignore[attr-defined]

    def remove_kernel(self, kernel_id: str) -> Any:
        """Forget a kernel that has ended; if it was waiting for a page, start another."""
        removed = super().remove_kernel(kernel_id)
        for notebook, waiting in getattr(self, "_pools", {}).items():
            for one in [one for one in waiting if one.done() and one.result()["kernel_id"] == kernel_id]:
                waiting.remove(one)
                self.fill_if_needed(delay=0, notebook_name=notebook)  # type: ignore[attr-defined]  # of Voila's subclass
        return removed

    async def forget_dead(self) -> None:
        """Forget kernels that have ended since the last check, which is made every few seconds: no page may get one."""
        for kernel_id in self.list_kernel_ids():
            if not await ensure_async(self.is_alive(kernel_id)):
                self.remove_kernel(kernel_id)

    def notify_disconnect(self, kernel_id: str) -> None:
        """Count from now, not from the last activity: a page idle for an hour may be offline for a second."""
        super().notify_disconnect(kernel_id)
        if kernel_id in self:
            self.get_kernel(kernel_id).last_activity = datetime.now(UTC)  # type: ignore[attr-defined]


class PageHandler(TornadoVoilaHandler):
    """A page in the colours that its reader prefers, unless its address names a theme.

    It gets the cookie without which its last request, to end its kernel, is refused.
    """

    async def get(self, path: str | None = None) -> None:
        """Serve the page; one that comes before the first kernel is started waits for it, and starts no second one."""
        while self.kernel_manager.get_pool_size(self.notebook_path) and not self.kernel_manager.notebook_data:
            await sleep(0.1)
        await self.kernel_manager.forget_dead()
        _ = self.xsrf_token  # reading it sets the cookie, which Voila leaves to a login page that may not exist
        await super().get(path)

    def write(self, chunk: str | bytes | dict[str, Any]) -> None:
        """Add a part of the page: after the light theme's colours those of the dark one, for who prefers them."""
        if isinstance(chunk, str) and "</head>" in chunk and not self.get_query_argument("theme", ""):
            address = f"{self.base_url}voila/templates/lab/static/theme-dark.css"
            dark = f'<link rel="stylesheet" media="(prefers-color-scheme: dark)" href="{address}">'
            chunk = chunk.replace("</head>", f"{DARK}{dark}</head>", 1)
        super().write(chunk)


class PageServer(Voila):
    """Voila, with pages of `PageHandler`."""

    def init_handlers(self) -> list[Any]:
        """Map addresses to handlers."""
        return [
            (address, PageHandler if handler is TornadoVoilaHandler else handler, *options)
            for address, handler, *options in super().init_handlers()
        ]


if __name__ == "__main__":
    PageServer.launch_instance()
