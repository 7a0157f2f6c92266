"""Records of the pages that the browser tests open."""

from __future__ import annotations

from growloop.leaderboard import Cost, Growth, Model, Record, Task

SUITE = Task(
    name="reasoning_primitives", version="1", fingerprint="ab", shots=5, split="test", chance=0.16
)


def measured() -> list[Record]:
    """Five models on the suite, and a study."""
    found = []
    for place, (name, family, schedule, value) in enumerate(
        [
            ("tiny-standard", "standard", "6", 0.60),
            ("tiny-loop", "looped", "3x2", 0.80),
            ("tiny-loop-middle", "looped", "1-2x2-1", 0.70),
            ("tiny-midas", "grown", "6", 0.30),
            ("tiny-lidas", "grown", "6", 0.45),
        ]
    ):
        growth = (Growth(operator="lidas", before=4, after=6, sources="1-2x2-1"),)
        model = Model(
            name=name,
            family=family,  # type: ignore[arg-type]
            size="tiny",
            schedule=schedule,
            growth=growth if family == "grown" else (),
            training_flops=1e14 * (0.7 if family == "grown" else 1),
        )
        cost = Cost(unique_parameters=200_000 + 50_000 * place, inference_flops=4e6)
        command = f"growloop eval --model {name}"
        found.append(
            Record(
                model=model, task=SUITE, value=value, n=5000, stderr=0.01, cost=cost,
                command=command,
            )
        )  # fmt: skip
        found += [
            Record(
                model=model, task=SUITE, value=value / 2 + examples / 1000, n=5000, stderr=0.01,
                study="in-context", conditions={"examples": examples},
            )
            for examples in (1, 8, 64)
        ]  # fmt: skip
    return found


def near_leader() -> list[Record]:
    """A leader, and models drawn after it so near that their hit areas cover its own."""
    found = []
    for name, value, parameters in (
        ("tiny-leader", 0.9, 200_000), ("tiny-close", 0.895, 201_000), ("tiny-far", 0.3, 400_000),
        ("tiny-twin-a", 0.6, 300_000), ("tiny-twin-b", 0.6, 300_000),
    ):  # fmt: skip
        model = Model(name=name, size="tiny", training_flops=1e14)
        cost = Cost(unique_parameters=parameters, inference_flops=4e6)
        found.append(Record(model=model, task=SUITE, value=value, n=5000, cost=cost))
    return found


def study_of(count: int) -> list[Record]:
    """Models whose block was repeated, with one seed, and one with three."""
    found = []
    for number in range(count):
        for seed in (0, 1, 2) if number == 0 else (0,):
            for times, block in ((0, "4:6"), (1, "4:6"), (2, "1:3")):
                found.append(
                    Record(
                        model=Model(name=f"model-{number:02}", seed=seed, schedule="6"),
                        task=SUITE, n=500, value=(number + times + seed / 9) / (count + 3),
                        study="repeats", schedule=None if times == 0 else f"4-{times + 1}x2",
                        conditions={"times": times, "block": block, "chosen": True},
                    )
                )  # fmt: skip
    return found
