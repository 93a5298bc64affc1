"""Somebody at the screen of `watch`, with no terminal: what is seen, and what is pressed."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from textual import events
from textual.pilot import Pilot

from codestrator.edges.context import Context
from codestrator.edges.watch.app import Watch
from codestrator.edges.watch.looking import Looker

SMALL, LARGE = (80, 24), (160, 50)
NAMES = {"/": "slash", " ": "space", "?": "question_mark"}
SECONDS = 20.0
NEVER = 3600.0  # an interval that no test sees the end of


class Patient(Watch):
    """What it says stays for as long as a busy machine may look away."""

    NOTIFICATION_TIMEOUT = SECONDS


class Eyes:
    """Waits for what is to be seen, never for a time."""

    def __init__(self, app: Watch, pilot: Pilot[int]) -> None:
        self.app = app
        self._pilot = pilot

    def lines(self) -> list[str]:
        """The screen as it is."""
        strips = self.app.screen._compositor.render_strips(self.app.size)
        return [strip.text for strip in strips]

    def screen(self) -> str:
        return "\n".join(self.lines())

    async def press(self, *keys: str) -> str:
        """Press these as fast as a terminal would bring them, and see what comes of it."""
        for key in keys:
            self.app.post_message(events.Key(NAMES.get(key, key), key if len(key) == 1 else None))
        await self._pilot.pause()
        return self.screen()

    async def back(self) -> str:
        """Close what is open over the panels."""
        await self.press("escape")
        await self.until(lambda: len(self.app.screen_stack) == 1)
        return self.screen()

    async def resize(self, width: int, height: int) -> str:
        await self._pilot.resize_terminal(width, height)
        await self._pilot.pause()
        return self.screen()

    async def until(self, look: Callable[[], object]) -> None:
        end = time.monotonic() + SECONDS
        while not look():
            assert time.monotonic() < end, f"not seen:\n{self.screen()}"
            await self._pilot.pause(0.02)

    async def sees(self, *words: str) -> str:
        """The screen, once all of these are on it."""
        await self.until(lambda: all(one in self.screen() for one in words))
        return self.screen()

    async def misses(self, words: str) -> str:
        """The screen, once these are no more on it."""
        await self.until(lambda: words not in self.screen())
        return self.screen()


def watching(
    repo: Path,
    does: Callable[[Eyes], Awaitable[None]],
    *,
    size: tuple[int, int] = SMALL,
    interval: float = NEVER,
) -> int | None:
    """What somebody does at a screen of this repository; the status that it ends with."""

    async def sits() -> int | None:
        context = Context()
        context.repo = repo
        try:
            looker = Looker(context)
            looker.first()
            app = Patient(looker, interval)
            async with app.run_test(size=size, notifications=True) as pilot:
                await does(Eyes(app, pilot))
            return app.return_value
        finally:
            context.close()

    return asyncio.run(sits())
