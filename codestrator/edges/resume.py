"""The verb `resume`: a list of what can be taken up, and beside its methods a command for each session."""

import click

from codestrator.edges import derived
from codestrator.edges.context import Context


class Resume(derived.Noun):
    """`resume` lists what can be taken up, `resume ses-…` takes it; the methods below it stay as they are."""

    def __init__(self, answer: derived.Answer) -> None:
        super().__init__(("resume",), answer)
        self.bare = "resume.candidates.list"
        self.no_args_is_help, self.invoke_without_command = False, True
        self.help = self.short_help = "Sessions that can be taken up again; `resume ses-…` takes one."

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if not name.startswith("ses-"):
            return super().get_command(ctx, name)

        def take(ctx: click.Context, /, force: bool, reason: str | None) -> None:
            from codestrator.edges import verbs

            context = ctx.ensure_object(Context)
            self.answer(context, "resume.candidates.attach", verbs.take(context, name, force, reason))

        params = [
            click.Option(["--force"], is_flag=True, help="Although it may still be alive elsewhere; needs --reason."),
            click.Option(["--reason"], metavar="TEXT"),
        ]
        text = "Take the session over."
        return click.Command(name, None, click.pass_context(take), [*params, *derived.common()], text)
