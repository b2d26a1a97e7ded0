"""How a model was trained, for its page: in two sentences under its title, and as a list at its end."""

from __future__ import annotations

from trilemma.data.named import NAMED
from trilemma.hints import listed
from trilemma.networks import described_network
from trilemma.report.evidence import OneModel
from trilemma.trial.title import whole_request
from trilemma.words import clean, exact_percent, spelled, techniques_in_words


def lead(model: OneModel) -> str:
    """What was trained on what, for readers who do not know the names in the title; of predictions, what they are."""
    if not model.config:
        if model.training_known:  # an audit of a run by an earlier version
            return ""
        result = model.result
        kinds = f" with {len(result['class_names']):,} classes" if result.get("class_names") else ""
        names = [spelled(name) for name in result.get("group_names") or ()]
        groups = f", in the groups {listed(names)}" if names else ""
        return (
            f"A classifier{kinds} that is known by its predictions alone, for {result['members']:,} examples that it "
            f"was trained on and {result['nonmembers']:,} others{groups}."
        )
    data, recipe = model.config["data"], model.config["recipe"]
    request = whole_request(model.config)
    name = str(request["name"])
    network, what = map(clean, described_network(model.config))
    known = f" of {clean(name)} ({NAMED[name].what})" if name in NAMED else ""
    skew, classes = request.get("skew"), len(data["classes"])
    share = ""
    if skew is not None and data.get("groups"):
        groups = " or ".join(spelled(group) for group in data["groups"])
        share = f", of which {exact_percent(float(skew))} of each class belong to one group ({groups})"
    techniques = techniques_in_words(recipe["techniques"]) or "none of the package's techniques"
    architecture = f"{network}{f' ({what})' if what else ''}"
    return (
        f"An image classifier for {classes:,} classes, trained on {data['examples']:,} images{known}{share}. Its "
        f"network is {architecture}, and it was trained with {techniques}."
    )


def facts(model: OneModel) -> list[tuple[str, str]]:
    """Terms and descriptions."""
    if model.kind == "audit":
        return _audit_facts(model)
    result = model.result
    recipe, data, course = model.config["recipe"], model.config["data"], result["course"]
    privacy = result["privacy"]
    network, what = map(clean, described_network(model.config))
    average = " on average" if privacy else ""
    rows = [
        ("data", clean(data["source"])),
        ("examples", f"{data['examples']:,} to train on, {data['test_examples']:,} to test on"),
        ("network", f"{network}{f', {what}' if what else ''}"),
        ("techniques", techniques_in_words(recipe["techniques"]) or "none"),
        ("updates", f"{course['updates']:,}, each on {course['batch_size']:,} images{average}"),
    ]
    if privacy:
        multiplier, norm = privacy["noise_multiplier"], privacy["clipping_norm"]
        rows.append(("clipping norm", f"{norm:g}: the most that one image adds to an update"))
        rows.append(
            ("noise", f"its standard deviation is {multiplier:g} times the clipping norm (the noise multiplier)")
        )
        rows.append(("noise source", clean(_SOURCES.get(privacy["noise_source"], privacy["noise_source"]))))
    if recipe.get("provenance"):
        rows.append(("settings", clean(recipe["provenance"])))
    environment = result["environment"]
    rows.append(("software", clean(f"Trilemma {environment['trilemma']}, torch {environment['torch']}")))
    return rows


_SOURCES = {
    "secret": "secret: drawn with a key from the operating system, which was not kept",
    "seeded": "seeded: whoever knows the seed can draw it again",
}


def _audit_facts(model: OneModel) -> list[tuple[str, str]]:
    result = model.result
    matched = f"matched by {result['matched_by']}" if result.get("matched_by") else "as given"
    if result.get("shadows"):
        matched = "as many of each class and group as members"
    return [
        ("run" if model.training_known else "predictions", clean(result["source"])),
        ("members", f"{result['members']:,}"),
        ("non-members", f"{result['nonmembers']:,}, {matched}"),
    ]
