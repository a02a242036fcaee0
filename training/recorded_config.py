"""What a checkpoint records of the configuration it was made with, and what may differ when it is used."""

import inspect
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from training.errors import UserError
from training.resume import OpenCheckpoint

TRAINER_KEYS = ("precision", "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm")
"""The trainer's keys that decide what a model learns."""

SOURCE_KEYS = ("init_from", "init_sha256")
"""The keys that name the checkpoint that a run took its first weights from."""

Config = Mapping[str, Any]
"""A configuration, nested dictionaries of plain values."""


FORMER_OPTIMIZERS = {
    "models.palindrome.rmsprop": ("torch.optim.RMSprop", 1e-3),
    "models.text.rmsprop": ("torch.optim.RMSprop", 2e-3),
    "models.graph.adam": ("torch.optim.Adam", 0.01),
    "models.spread.adam": ("torch.optim.Adam", 0.01),
}
"""How the first runs of this project name the models' default optimizers: their classes and learning rates."""


class Change(NamedTuple):
    """A value that a resumed run changes."""

    name: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.name.replace('init_args.', '')} {shown(self.before)} -> {shown(self.now)}"


def config_to_record(config: Config) -> dict[str, Any]:
    """The part of a configuration that decides what a run learns. It is kept in the checkpoint.

    Raises:
        UserError: a callback that must match on resume is there twice.
    """
    trainer = {key: config["trainer"].get(key) for key in TRAINER_KEYS}
    trainer["callbacks"] = {}
    for callback in as_list(config["trainer"].get("callbacks")):
        name = callback["class_path"]
        if getattr(import_class(name), "MUST_MATCH_ON_RESUME", False):
            if name in trainer["callbacks"]:
                short = name.rpartition(".")[2]
                raise UserError(f"trainer.callbacks has {short} twice; there can be one, so remove the others")
            trainer["callbacks"][name] = callback.get("init_args", {})
    source = {"init_from": {key: config[key] for key in SOURCE_KEYS}} if config.get("init_from") else {}
    return {"model": config["model"], "data": config["data"], "trainer": trainer} | source


def compare(opened: OpenCheckpoint, current: Config, for_training: bool, may_change: bool = False) -> list[Change]:
    """Compare a checkpoint's configuration with the one that is to use it.

    Args:
        opened: the checkpoint.
        current: what ``config_to_record`` made of the configuration.
        for_training: whether model, data and trainer must match, except for the arguments that the model's and the
            data's classes declare as ``MAY_DIFFER_ON_RESUME``; or the model only, except for its
            ``MAY_DIFFER_IN_TEST``.
        may_change: whether the trainer's keys, and what the model's class declares as ``MAY_CHANGE_ON_RESUME``, may
            differ, too.
    Returns:
        what differs of these.
    Raises:
        UserError: the checkpoint has no configuration, or a value differs.
    """
    path, recorded = opened.path, opened.checkpoint.get("config")
    groups = ("data", "model", "trainer") if for_training else ("model",)
    if not (isinstance(recorded, dict) and all(isinstance(recorded.get(group), dict) for group in groups)):
        raise UserError(f"{path} has no configuration of a model; give a checkpoint of this project")
    declaration = "MAY_DIFFER_ON_RESUME" if for_training else "MAY_DIFFER_IN_TEST"
    changes = []
    for group in groups:
        theirs, ours = recorded[group], current[group]
        if group == "trainer":
            # The first checkpoints of this project record a curriculum by itself.
            curriculum = theirs.get("curriculum")
            theirs = {"callbacks": {"callbacks.LengthCurriculum": curriculum} if curriculum else {}} | theirs
            changeable: Sequence[str] = TRAINER_KEYS
        else:
            owner = import_class(ours.get("class_path", ""))
            theirs = with_defaults(with_current_optimizer(theirs), owner)
            skipped = names_in(group, getattr(owner, declaration, ()))
            changeable = getattr(owner, "MAY_CHANGE_ON_RESUME", ())
        for change in differences(theirs, ours, group):
            name = f"{change.name}."
            if group != "trainer" and name.startswith(skipped):
                continue
            can_change = for_training and name.startswith(names_in(group, changeable))
            if not (can_change and may_change):
                way_out = "add --allow_changes true to go on with it" if can_change else "start a new run"
                raise UserError(
                    f"the checkpoint {path} was made with {change.name} = {change.before}, the config says "
                    f"{change.now}; use the config it was made with (the run's own, without --config), or {way_out}"
                )
            changes.append(change)
    return changes


def names_in(group: str, arguments: Sequence[str]) -> tuple[str, ...]:
    """The beginnings of the names of these arguments and the keys in them."""
    inner = "" if group == "trainer" else "init_args."
    return tuple(f"{group}.{inner}{argument}." for argument in arguments)


def differences(theirs: Any, ours: Any, name: str) -> Iterator[Change]:
    """Name and both values of everything that is in both configurations and differs; a callback may be in one only."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted(theirs.keys() | ours.keys() if name == "trainer.callbacks" else theirs.keys() & ours.keys()):
            yield from differences(theirs.get(key), ours.get(key), f"{name}.{key}")
    # Two paths, such as models.TextModel and models.text.TextModel, may lead to the same class.
    elif theirs != ours and not (
        name.endswith(".class_path") and import_class(theirs) is import_class(ours) is not object
    ):
        yield Change(name, theirs, ours)


def with_defaults(recorded: Config, owner: type) -> dict[str, Any]:
    """A recorded configuration with the defaults of the arguments that its class did not have yet."""
    arguments = recorded.get("init_args", {})
    parameters = {} if owner is object else inspect.signature(owner).parameters
    plain = {name: one.default for name, one in parameters.items() if isinstance(one.default, bool | int | float | str)}
    return {**recorded, "init_args": plain | arguments}


def with_current_optimizer(model: Config) -> dict[str, Any]:
    """A model's configuration, in which the default optimizers of the first runs are classes with arguments."""
    arguments = model.get("init_args", {})
    former = FORMER_OPTIMIZERS.get(str(arguments.get("optimizer")))
    if former is None:
        return dict(model)
    optimizer = {"class_path": former[0], "init_args": {"lr": former[1]}}
    return {**model, "init_args": {**arguments, "optimizer": optimizer}}


def shown(value: Any) -> str:
    """A value in a line; of an object its class and arguments."""
    if isinstance(value, dict) and "class_path" in value:
        arguments = ", ".join(f"{name}={shown(given)}" for name, given in value.get("init_args", {}).items())
        return f"{value['class_path'].rpartition('.')[2]}({arguments})"
    return "null" if value is None else str(value)


def import_class(class_path: str) -> Any:
    """The class of a configuration; one that cannot be imported, such as a local class, declares nothing."""
    try:
        return pkgutil.resolve_name(class_path)
    except (ImportError, AttributeError, ValueError):
        return object


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
