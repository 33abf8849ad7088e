"""The server of the panel's page: Voila, with kernels that end when their page does. `tblib.serve.app` starts it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from traitlets import default
from voila.app import Voila  # type: ignore[import-untyped]
from voila.tornado.handler import TornadoVoilaHandler  # type: ignore[import-untyped]

ALONE, LOOK = 45, 10  # seconds: how long a kernel waits for its page to come back, and how often that is looked at


class PageKernels(AsyncMappingKernelManager):
    """Kernels that end soon after their page is gone, even if it could not say so.

    A browser that was killed says nothing, nor does a page that was left before it was ready. A kernel that works, or
    whose page is open, stays however long.
    """

    @default("cull_idle_timeout")
    def _default_cull_idle_timeout(self) -> int:
        return ALONE

    @default("cull_interval")
    def _default_cull_interval(self) -> int:
        return LOOK

    def notify_disconnect(self, kernel_id: str) -> None:
        """Count from here, not from what was last done: a page idle for an hour may be offline for a second."""
        super().notify_disconnect(kernel_id)
        if kernel_id in self:
            self.get_kernel(kernel_id).last_activity = datetime.now(UTC)  # type: ignore[attr-defined]


class PageHandler(TornadoVoilaHandler):
    """Gives the page the cookie without which its goodbye, a request to end its kernel, is refused."""

    async def get(self, path: str | None = None) -> None:
        """Serve the page."""
        _ = self.xsrf_token  # asking for it sets the cookie, which Voila leaves to a login page that there may not be
        await super().get(path)


class PageServer(Voila):
    """Voila, with pages of `PageHandler`."""

    def init_handlers(self) -> list[Any]:
        """Which handler serves which address."""
        return [
            (address, PageHandler if handler is TornadoVoilaHandler else handler, *options)
            for address, handler, *options in super().init_handlers()
        ]


if __name__ == "__main__":
    PageServer.launch_instance()
