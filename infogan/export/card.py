"""The model card: what a model was trained on, what its codes mean, its scores, its limits.

Every figure comes from the run's files and from evaluations; nothing of one run is written here.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from infogan import auxiliary
from infogan.config.datasets import without_place
from infogan.config.options import flag_of
from infogan.config.spec import LatentSpec
from infogan.config.train_config import MAY_CHANGE, TrainConfig
from infogan.evaluation.files import EVALUATION_FILE
from infogan.evaluation.report import report_tables
from infogan.evaluation.tables import MODELS, class_names, matched_classes
from infogan.export.model import Model
from infogan.weights.files import write_json

CARD = "README.md"
N_ATTRIBUTES_SHOWN = 2
N_KEYS = 3  # first columns of a report: run, seed, step
BAR = 0.95  # named in a report's title, which the card does not show
# As Hugging Face's hub knows the data sets.
HUB_DATASETS = {"mnist": "ylecun/mnist", "mnist5k": "ylecun/mnist", "fashion": "zalando-datasets/fashion_mnist"}
BIBTEX = """```bibtex
@inproceedings{chen2016infogan,
  title     = {{InfoGAN}: Interpretable Representation Learning by Information Maximizing Generative Adversarial Nets},
  author    = {Chen, Xi and Duan, Yan and Houthooft, Rein and Schulman, John and Sutskever, Ilya and Abbeel, Pieter},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {29},
  year      = {2016}
}
```"""


def save_card(model: Model, folder: Path) -> None:
    """Writes README.md with its pictures into a folder, and the run's evaluation where there is one."""
    if model.evaluation is not None:
        write_json(folder / EVALUATION_FILE, model.evaluation)
    pictures, matched, names = [], matched_classes(model.evaluation), class_names(model.evaluation)
    for picture in auxiliary.sweep_pictures(model.nets.spec, auxiliary.GalleryOptions()):
        latents = auxiliary.with_digits(picture.latents, model.nets.spec, matched, names)
        drawn = auxiliary.draw(model.nets.generator, latents, f"{model.name}: {picture.what}")
        pictures.append((picture.what, auxiliary.save_png(drawn, folder / f"{picture.name}.png").name))
    (folder / CARD).write_text(card(model, folder.name, pictures), encoding="utf-8")


def card(model: Model, folder: str, pictures: list[tuple[str, str]]) -> str:
    """Returns the card as Markdown.

    Args:
        model: What it is about.
        folder: The name of the card's folder.
        pictures: What each shows, and its file in the card's folder.
    """
    sections = {
        f"# {model.name}": _introduction(model),
        "## Pictures": "\n\n".join(f"![{what[0].upper()}{what[1:]}]({file})" for what, file in pictures),
        "## Use": _use(model, folder),
        "## Data": _data(model),
        "## Codes": _codes(model),
        "## Scores": _scores(model),
        "## Training": _training(model),
        "## Limits": _limits(model),
        "## Cite": f"Please cite the paper:\n\n{BIBTEX}",
    }
    return "\n\n".join([_front_matter(model), *(f"{title}\n\n{text}" for title, text in sections.items())]) + "\n"


def _front_matter(model: Model) -> str:
    dataset = HUB_DATASETS.get(model.nets.config.dataset)
    return "\n".join(
        [
            "---",
            "license: mit",
            "library_name: infogan",
            "pipeline_tag: unconditional-image-generation",
            *([f"datasets: [{dataset}]"] if dataset else []),
            "tags: [infogan, gan, disentanglement, clustering, pytorch_model_hub_mixin, model_hub_mixin]",
            "---",
        ]
    )


def _introduction(model: Model) -> str:
    channels, height, width_px = model.nets.image_shape
    return (
        f"An InfoGAN ([arXiv 1606.03657](https://arxiv.org/abs/1606.03657)) trained on {_name_of_data(model)}, without "
        f"labels. G draws an image of {height} × {width_px} pixels, {channels} "
        f"{'channel' if channels == 1 else 'channels'}, from noise z and codes c; Q reads the codes off an image; D "
        "tells real images from G's."
    )


def _use(model: Model, folder: str) -> str:
    code = f"""```python
import torch
from infogan import load_nets, posterior_categories, posterior_means, sample_prior, with_code

nets = load_nets("{folder}")  # this folder
z, c = sample_prior(nets.spec, 8, torch.Generator().manual_seed(0))
c = with_code(nets.spec, c, "{model.nets.spec.names[0]}", 0)
with torch.inference_mode():
    x = nets.generator(z, c)  # images, NCHW in [-1, 1]
    d_logits, q_params = nets.discriminator(x)  # of these, or of real images
print(posterior_categories(nets.spec, q_params), posterior_means(nets.spec, q_params))
```"""
    sentences = [
        f'With Hugging Face\'s tools: `InfoGAN.from_pretrained("{folder}")`, from `infogan.export.huggingface`.',
        "BatchNorm is merged into the layers before it: these weights are for use, and not for further training.",
    ]
    if model.encoder is not None:
        sentences.append("`infogan.invert(nets, images)` starts from the encoder, which is in the file too.")
    return f"{code}\n\n{' '.join(sentences)}"


def _name_of_data(model: Model) -> str:
    names = {"mnist": "MNIST", "mnist5k": "5,000 digits of MNIST", "fashion": "Fashion-MNIST"}
    dataset = model.nets.config.dataset
    return names.get(dataset, f"`{without_place(dataset)}`")


def _data(model: Model) -> str:
    config = model.nets.config
    lines = [f"Trained on {_name_of_data(model)} (`--dataset {without_place(config.dataset)}`). No label was used."]
    if model.evaluation is not None:
        scored = model.evaluation["scored"]
        lines.append(
            f"The scores below are of {scored['n_test_images']:,} test images, which training did not see, and of "
            f"{scored['n_samples']:,} samples. Labels are used for scoring alone, as in matching categories to classes."
        )
    return " ".join(lines)


def _codes(model: Model) -> str:
    spec = model.nets.spec
    rows = [
        [title, f"`{getattr(code, 'prior', code)}`", f"{entropy:.3f}", _meaning(model, name)]
        for name, title, code, entropy in zip(spec.names, spec.titles, spec.codes, spec.entropies_nats, strict=True)
    ]
    noise = {"normal": "N(0, 1)", "uniform": "U(-1, 1)"}[spec.noise]
    table = _markdown(["code", "prior", "H(c), nats", "on test images"], rows)
    return f"{table}\n\nz has {spec.noise_dim} entries, each from {noise}."


def _meaning(model: Model, name: str) -> str:
    """Returns what the evaluation says of a code: the class of each category, or what a continuous one goes with."""
    scores = {} if model.evaluation is None else model.evaluation["infogan"]
    if matched := matched_classes(model.evaluation).get(name):
        labels = auxiliary.category_labels(matched, class_names=class_names(model.evaluation))
        return "category → class: " + ", ".join(labels)
    factors = scores.get("factors", {})
    if name in factors.get("test_images", {}):
        found = sorted(zip(factors["attributes"], factors["test_images"][name], strict=True), key=lambda a: -abs(a[1]))
        shown = ", ".join(f"{attribute} {r:+.2f}" for attribute, r in found[:N_ATTRIBUTES_SHOWN])
        return f"partial correlation with {shown}"
    return "not measured"


def _scores(model: Model) -> str:
    if model.evaluation is None:
        return "This model has not been evaluated."
    summaries = (
        {"median": "median over seeds", "worst": "worst", "n": "n", "at chance": "at chance"} if model.seeds else {}
    )
    seeds = _by_metric(model.seeds)
    parts = []
    for title, metrics in _by_metric([model.evaluation]).items():
        rows = [
            [metric, cells["run"], *(seeds.get(title, {}).get(metric, {}).get(row, "-") for row in summaries)]
            for metric, cells in metrics.items()
        ]
        parts.append(_markdown([title, "this model", *summaries.values()], rows))
    return "\n\n".join([*parts, " ".join(_notes_on_scores(model))])


def _by_metric(evaluations: Sequence[dict[str, Any]]) -> dict[str, dict[str, dict[str, str]]]:
    """Returns the report over runs, table by table and metric by metric: rows of its summary, and the first `run`."""
    tables = {}
    for table in report_tables(evaluations, BAR) if evaluations else ():
        model, title = table.title.partition(":")[0].split(", ", 1)
        if model == MODELS["infogan"]:
            rows = {"run": table.rows[0], **{row[0]: row for row in table.rows[len(evaluations) :]}}
            tables[title] = {
                metric: {name: row[column] for name, row in rows.items()}
                for column, metric in enumerate(table.header)
                if column >= N_KEYS
            }
    return tables


def _notes_on_scores(model: Model) -> Iterator[str]:
    config = model.nets.config
    if model.seeds:
        seeds = sorted({evaluation["config"]["seed"] for evaluation in model.seeds})
        precisions = {TrainConfig.from_dict(evaluation["config"]).precision for evaluation in model.seeds}
        yield f"The seeds are {_listed([*map(str, seeds)])}, trained in {_listed(sorted(precisions))};"
        assert model.evaluation is not None
        own, of_seeds = model.evaluation["infogan"], [evaluation["infogan"] for evaluation in model.seeds]
        another = "" if own in of_seeds else ", another run than those"
        yield f"this model is of seed {config.seed}, trained in {config.precision}{another}."
    if model.dtype != "float32":
        yield f"It was measured before its weights were rounded to {model.dtype}."
    yield "`scripts/evaluate.py` measured all of it; `docs/metrics.md` of the package defines the metrics."


def _training(model: Model) -> str:
    nets = model.nets
    what = f"{nets.step:,} steps of {nets.config.batch_size} images, seed {nets.config.seed}"
    lines = [f"{what}, with the code of the commit below:", "", "```bash", training_command(nets.config), "```", ""]
    if nets.seconds is not None:
        lines.append(f"- Time of the steps: {nets.seconds:,.0f} s")
    for session in model.sessions:
        device = ", ".join(session.get("cuda_devices", ())) or f"CPU, threads: {session.get('threads')}"
        lines.append(f"- Commit {session.get('commit') or 'unknown'}, torch {session.get('torch')}; {device}")
    return "\n".join(lines)


def training_command(config: TrainConfig) -> str:
    """Returns the command that trains such a run: the preset, the seed and every flag that differs from the preset."""
    preset = TrainConfig.from_preset(config.preset)
    left_out = MAY_CHANGE - {"steps", "precision"} | {"preset", "name", "seed", "log_every"}
    words = ["python", "scripts/train.py", "--preset", config.preset, "--seed", str(config.seed)]
    config = dataclasses.replace(config, dataset=without_place(config.dataset))
    for field in dataclasses.fields(config):
        value, flag = getattr(config, field.name), flag_of(field.name)
        if field.name in left_out or value == getattr(preset, field.name):
            continue
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        else:
            words += [flag, field.metadata["none"] if value is None else str(value)]
    return shlex.join(words)


def _limits(model: Model) -> str:
    spec = model.nets.spec
    limits = [
        f"It knows {_name_of_data(model)} alone. Q answers for any image of this size, also where the answer means "
        "nothing."
    ]
    if spec.categorical:
        limits.append("Categories were found without labels: a class may be split, or share a category with another.")
    if spec.continuous:
        limits.append(_limit_of_continuous(spec))
    if model.evaluation is not None and (quality := model.evaluation["infogan"].get("quality")):
        floor = quality["floor"]
        limits.append(
            f"Samples are less varied than the data: recall {quality['recall']:.2f} and coverage "
            f"{quality['coverage']:.2f}, where real images have {floor['recall']:.2f} and {floor['coverage']:.2f}."
        )
    limits.append("It is one run: the next seed gives other categories, and other scores.")
    return "\n".join(f"- {limit}" for limit in limits)


def _limit_of_continuous(spec: LatentSpec) -> str:
    free = [spec.names[i] for i in spec.continuous if i not in dict(spec.named)]
    limits = []
    if spec.named:
        told, were = _listed([spec.titles[i] for i, _ in spec.named]), "was" if len(spec.named) == 1 else "were"
        limits.append(f"{told} {were} supervised by known transformations of augmented views, and not discovered.")
    if free:
        limits.append(
            f"Nothing ties {_listed(free)} to a factor: they differ from seed to seed, and one may mix two factors."
        )
    return " ".join(limits)


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
