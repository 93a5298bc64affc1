"""The verb `resume`: a list of what can be taken up, and beside its methods a command for each session."""

from typing import TYPE_CHECKING

import click

from codestrator.edges import derived, helping, values
from codestrator.edges.context import Context

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

SESSION = values.Id(("ses",))


class Resume(derived.Noun):
    """`resume` lists what can be taken up, `resume ses-…` takes it; the methods below it stay as they are."""

    def __init__(self, answer: derived.Answer) -> None:
        super().__init__(("resume",), answer)
        self.bare = "resume.candidates.list"
        self.no_args_is_help, self.invoke_without_command = False, True
        self.help = self.short_help = "Sessions that can be taken up again; `resume ses-…` takes one."

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list["CompletionItem"]:
        given = SESSION.shell_complete(ctx, self.params[0], incomplete) if not incomplete.startswith("-") else []
        return [*super().shell_complete(ctx, incomplete), *given]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if not name.startswith("ses-"):
            return super().get_command(ctx, name)

        def take(ctx: click.Context, /, force: bool, reason: str | None) -> None:
            from codestrator.edges import verbs

            context = ctx.ensure_object(Context)
            self.answer(context, "resume.candidates.attach", verbs.take(context, name, force, reason))

        params = [
            click.Option(["--force"], is_flag=True, help="Although it may still be alive elsewhere; needs --reason."),
            click.Option(["--reason"], metavar="TEXT", help="Why; at most 8 KiB."),
        ]
        text = "Take the session over."
        return helping.Command(name, None, click.pass_context(take), [*params, *derived.common()], text)
