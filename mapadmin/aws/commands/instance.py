"""`mapadmin aws instance …`: the EC2 server as a whole."""

from __future__ import annotations

import typer

from mapadmin.admin import Admin, Mode
from mapadmin.aws import calls
from mapadmin.aws.calls import Call
from mapadmin.aws.commands._open import aws_of
from mapadmin.aws.execute import AwsStep, Until, WaitStep, is_healthy, kind, waiting_kind
from mapadmin.aws.faults import AwsError
from mapadmin.aws.session import Aws
from mapadmin.core.errors import MapadminError, SettingsError
from mapadmin.core.plan import Kind, Plan, Step
from mapadmin.options import DryRun, Json, Yes
from mapadmin.site import AwsSettings

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Start, stop or reboot the EC2 server."
)


@app.command("start")
def start(ctx: typer.Context, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Start the server and wait until both of EC2's health checks are well."""
    _run(ctx, "start", calls.START, Until.HEALTHY, Mode(dry_run=dry_run, as_json=as_json))


@app.command("stop")
def stop(
    ctx: typer.Context, yes: Yes = False, dry_run: DryRun = False, as_json: Json = False
) -> None:
    """Stop the server and wait until it is; asks, because nobody can work meanwhile.

    Its public address changes unless it is an Elastic IP, and its volumes are still paid for.
    """
    _run(ctx, "stop", calls.STOP, Until.STOPPED, Mode(dry_run=dry_run, yes=yes, as_json=as_json))


@app.command("reboot")
def reboot(
    ctx: typer.Context, yes: Yes = False, dry_run: DryRun = False, as_json: Json = False
) -> None:
    """Reboot the server and wait until both of EC2's health checks are well; asks.

    They are looked at once a minute: waits for them to fail first, aws.reboot_seconds at most.
    """
    mode = Mode(dry_run=dry_run, yes=yes, as_json=as_json)
    _run(ctx, "reboot", calls.REBOOT, Until.HEALTHY, mode)


def _run(ctx: typer.Context, action: str, call: Call, until: Until, mode: Mode) -> None:
    aws = aws_of(ctx, changes=True)
    instance = aws.settings.instance
    if not instance:
        raise SettingsError("The site file has no aws.instance.", remedy='instance = "i-…"')
    state = _state(aws, instance)
    unwell = action == "start" and state == "running" and not is_healthy(aws, instance)
    state = "unwell" if unwell else state
    plan = plan_of(action, call, until, state, aws.settings)
    if any(isinstance(step, AwsStep) for step in plan.steps):
        _rehearse(aws, call, instance)
    admin = ctx.ensure_object(Admin)
    question = f"{action.capitalize()} {instance}?"
    kinds: dict[type[Step], Kind] = {AwsStep: kind(aws), WaitStep: waiting_kind(aws)}
    admin.perform(plan, kinds, mode, question=question)


def plan_of(action: str, call: Call, until: Until, state: str, settings: AwsSettings) -> Plan:
    """One step, or none when it is so already. Pure.

    `state` is EC2's, or "unwell" of a server that runs and is not known to be healthy. What is
    under way already is only waited for.
    """
    instance = settings.instance
    there = {"start": "running", "stop": "stopped"}
    if state == there.get(action):
        return Plan((), (f"{instance} is {state} already",))
    if state in {"start": ("pending", "unwell"), "stop": ("stopping",)}.get(action, ()):
        now = "running, and not healthy yet" if state == "unwell" else f"{state} already"
        wait = WaitStep(
            action="wait", target=instance, detail=f"it is {now}", until=until, waits_on=instance
        )
        return Plan((wait,))
    possible = {"start": {"stopped"}, "stop": {"running"}, "reboot": {"running"}}
    if state not in possible[action]:
        raise MapadminError(
            f"{instance} is {state}: EC2 cannot {action} it now.",
            remedy="Look again in a minute: mapadmin aws status",
        )
    notes: tuple[str, ...] = ()
    if action != "start":
        away = " and ".join(settings.serves) or "everything that runs on it"
        notes = (f"meanwhile nobody reaches {away}",)
    step = AwsStep(
        action=action, target=instance, detail=f"it is {state}",
        destroys=action != "start",  # an outage: what people are doing is cut off
        call=call, parameters={"InstanceIds": [instance]}, until=until, waits_on=instance,
        sign_seconds=settings.reboot_seconds if action == "reboot" else 0,
    )  # fmt: skip
    return Plan((step,), notes)


def _state(aws: Aws, instance: str) -> str:
    try:
        found = aws.call(calls.INSTANCES, InstanceIds=[instance])
        return str(found["Reservations"][0]["Instances"][0]["State"]["Name"])
    except AwsError as error:
        if not error.code.startswith("InvalidInstanceID"):
            raise
        raise SettingsError(
            f"There is no EC2 instance {instance} in this account and region.",
            remedy="Check aws.instance, aws.region and --region.",
        ) from None


def _rehearse(aws: Aws, call: Call, instance: str) -> None:
    """Ask EC2 whether it would: it answers with an error of its own for yes."""
    try:
        aws.call(call, InstanceIds=[instance], DryRun=True)
    except AwsError as error:
        if error.code != "DryRunOperation":
            raise
