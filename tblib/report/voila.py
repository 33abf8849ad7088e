"""Voila server of the panel's page, whose kernels end with their page; `serve.app` starts it."""

from datetime import UTC, datetime
from typing import Any

from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from traitlets import Integer
from voila.app import Voila
from voila.tornado.handler import TornadoVoilaHandler


class PageKernels(AsyncMappingKernelManager):
    """Kernels that end soon after their page is gone, even if it sent no notice.

    A killed browser sends none, nor does a page left before it was ready. Busy kernels and open pages keep running.
    """

    cull_idle_timeout = Integer(45, config=True, help="Seconds that a kernel waits for its page to return.")
    cull_interval = Integer(10, config=True, help="Seconds between checks.")

    def notify_disconnect(self, kernel_id: str) -> None:
        """Count from now, not from the last activity: a page idle for an hour may be offline for a second."""
        super().notify_disconnect(kernel_id)
        if kernel_id in self:
            self.get_kernel(kernel_id).last_activity = datetime.now(UTC)  # type: ignore[attr-defined]


class PageHandler(TornadoVoilaHandler):
    """Gives the page the cookie without which its last request, to end its kernel, is refused."""

    async def get(self, path: str | None = None) -> None:
        """Serve the page."""
        _ = self.xsrf_token  # reading it sets the cookie, which Voila leaves to a login page that may not exist
        await super().get(path)


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
