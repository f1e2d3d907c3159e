"""evaluation.json: what is in it, what it is made from, and the tables over runs, with figures worked by hand."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from conftest import small_config
from test_readme import TRAINED_RUN_EXAMPLES

from infogan import LatentSpec, UserError, auxiliary, load_nets, train
from infogan.data.datasets import load_scored_dataset
from infogan.evaluation import figures, scoring, subject
from infogan.evaluation.files import (
    EVALUATION_FORMAT,
    evaluation_at,
    evaluation_path,
    read_evaluation,
    save_evaluation,
)
from infogan.evaluation.fresh_q import FreshQ
from infogan.evaluation.report import report_notes, report_tables
from infogan.evaluation.scoring import evaluate
from infogan.evaluation.sweeps import main_factors
from infogan.evaluation.tables import Table, class_names, describe_evaluation, matched_classes
from infogan.inversion import encoder_training
from infogan.inversion.encoder import Encoder
from infogan.training.checkpoint import load_checkpoint
from infogan.training.curves import loss_figures

TINY_Q = FreshQ(width=4, n_images=128, epochs=1, batch_size=64)


@pytest.fixture(scope="module", autouse=True)
def short_sweeps():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subject, "N_SWEEP_ROWS", 20)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of a few steps on real digits, with a vanilla GAN beside it."""
    run = train(small_config(name="tiny", baseline=True), tmp_path_factory.mktemp("runs"))
    return run


@pytest.fixture(scope="module")
def evaluation(trained, tmp_path_factory):
    path = trained.latest_checkpoint()
    nowhere = tmp_path_factory.mktemp("no data")
    return evaluate(path, nowhere, "cpu", seed=0, n_samples=100, fresh_q=TINY_Q)


def made_up(run: str, accuracy: float, distance: float | None, seed: int = 0, **config) -> dict:
    """An evaluation with a vanilla GAN that is at chance, as far as the report reads it."""

    def scores(accuracy, distance):
        quality = {"frechet_digit_distance": distance, "precision": 0.9, "recall": 0.8, "density": 1, "coverage": 0.7}
        bound = {"nats": 2.0}
        return {
            "clustering": {"c1": {"accuracy": accuracy, "nmi": 0.5, "ari": 0.25, "confusion": [[1] * 10] * 10}},
            "mutual_information": {"c1": {"own_q": bound, "own_q_calibrated": bound, "fresh_q": bound}},
            "quality": {**quality, "agreement": {"c1": accuracy}},
        }

    return {
        "format": EVALUATION_FORMAT,
        "run": run,
        "step": 5000,
        "config": {"seed": seed, "name": run, "width": 64, **config},
        "scored": {"dataset": "mnist", "n_test_images": 10_000, "n_samples": 10_000, "seed": 0},
        "infogan": scores(accuracy, distance),
        "vanilla": scores(0.1, 1.0),
    }


def made_up_factors(slant: float) -> dict:
    """c2 has this correlation with slant, and is the wider in width; c3 has the thickness."""
    attributes = ["thickness", "slant", "width"]
    sweep = {"range_covered": [0, 0, 0]}
    return {
        "attributes": attributes,
        "test_images": {"c2": [0.1, slant, 0.9], "c3": [-0.5, 0.0, 0.25]},
        "sweeps": {
            "c2": {**sweep, "shared_direction": [0.5, 1.0, 0.6], "digit_kept": 0.75},
            "c3": {**sweep, "shared_direction": [0.9, 0.7, 0.8], "digit_kept": 0.5},
        },
    }


class TestMainFactors:
    def test_each_attribute_is_sought_in_another_code(self):
        assert main_factors({"factors": made_up_factors(-0.75)}) == {
            "slant |r|": 0.75,
            "slant, shared": 1.0,
            "thickness or width |r|": 0.5,  # of c3: c2, of more width, is the slant's
            "thickness or width, shared": 0.9,
            "digit kept": 0.5,
        }

    def test_an_undefined_correlation_is_none_at_all(self):
        factors = made_up_factors(0.0)
        factors["test_images"] = {"c2": [None, None, None]}
        found = main_factors({"factors": factors})
        assert found["slant |r|"] == 0
        assert "thickness or width |r|" not in found

    def test_images_that_are_no_digits_have_none(self):
        assert main_factors({}) == {}


class TestReport:
    THREE = (made_up("a", 0.90, 3.0), made_up("b", 0.96, 1.5, seed=1), made_up("c", 0.99, None, seed=2))

    def columns(self, table):
        return {name: [row[i] for row in table.rows] for i, name in enumerate(table.header)}

    def test_rows_and_summaries_are_those_worked_by_hand(self):
        tables = report_tables(self.THREE, bar=0.95)
        assert [table.title for table in tables] == [
            "InfoGAN, clustering of real images: 2 of 3 runs reached c1 accuracy 0.95",
            "InfoGAN, L_I in nats",
            "InfoGAN, image quality by the digit classifier",
            "vanilla GAN, clustering of real images: 0 of 3 runs reached c1 accuracy 0.95",
            "vanilla GAN, L_I in nats",
            "vanilla GAN, image quality by the digit classifier",
        ]
        columns = self.columns(tables[0])
        assert columns["run"] == ["a", "b", "c", "median", "mean ± deviation", "worst", "n", "at chance"]
        assert columns["seed"][:3] == ["0", "1", "2"]
        # Deviations from 0.95 are -0.05, 0.01 and 0.04: √(0.0042 / 2) = 0.0458.
        accuracy = ["0.900", "0.960", "0.990", "0.960", "0.950 ± 0.046", "0.900", "3", "0.100"]
        assert columns["c1 accuracy ↑"] == accuracy
        # One has no distance; the largest is the worst. Deviations are ±0.75: √(2 · 0.5625) = 1.061.
        distance = ["3.000", "1.500", "-", "2.250", "2.250 ± 1.061", "3.000", "2", "-"]
        assert self.columns(tables[2])["Fréchet digit distance ↓"] == distance
        assert self.columns(tables[1])["c1 fresh Q ↑"][:3] == ["2.000"] * 3

    def test_what_the_continuous_codes_hold_is_a_table_of_its_own(self):
        runs = [made_up(name, 0.9, 3.0) for name in ("a", "b")]
        for run, slant in zip(runs, (-0.75, 0.25), strict=True):
            run["infogan"]["factors"] = made_up_factors(slant)
        table = next(table for table in report_tables(runs, bar=0.95) if table.title == "InfoGAN, continuous codes")
        columns = self.columns(table)
        assert columns["slant |r| ↑"][:4] == ["0.750", "0.250", "0.500", "0.500 ± 0.354"]

    def test_a_number_without_a_better_end_has_no_worst(self):
        runs = [made_up(name, 0.9, 3.0) for name in ("a", "b", "c")]
        for run, share in zip(runs, (0.25, 0.5, 0.3), strict=True):
            run["infogan"]["noise"] = {"share": share}
        table = next(table for table in report_tables(runs, bar=0.95) if table.title == "InfoGAN, noise and codes")
        columns = self.columns(table)
        assert columns["share of the noise"] == ["0.250", "0.500", "0.300", "0.300", "0.350 ± 0.132", "-", "3"]

    def test_runs_with_other_codes_share_a_table(self):
        more = made_up("more", 0.9, 1.0)
        more["infogan"]["clustering"]["c2"] = more["infogan"]["clustering"]["c1"]
        more["infogan"]["mutual_information"]["c2"] = more["infogan"]["mutual_information"]["c1"]
        table = report_tables([self.THREE[0], more], bar=0.95)[0]
        assert self.columns(table)["c2 NMI ↑"] == ["-", "0.500", "0.500", "0.500 ± -", "0.500", "1", "0.000"]

    def test_the_bar_itself_counts_as_reached(self):
        assert report_tables(self.THREE, bar=0.96)[0].title.startswith("InfoGAN, clustering of real images: 2 of 3")

    def test_one_run_has_no_deviation(self):
        table = report_tables(self.THREE[:1], bar=0.95)[0]
        assert self.columns(table)["c1 accuracy ↑"] == ["0.900", "0.900", "0.900 ± -", "0.900", "1", "0.100"]

    def test_runs_without_a_vanilla_gan_are_not_counted_in_its_table(self):
        alone = {key: value for key, value in self.THREE[0].items() if key != "vanilla"}
        assert len(report_tables([alone], bar=0.95)) == 3
        vanilla = report_tables([alone, self.THREE[1]], bar=0.95)[3]
        assert self.columns(vanilla)["run"][:2] == ["b", "median"]

    def test_plain_columns_are_aligned_and_markdown_is_a_table(self):
        table = report_tables(self.THREE, bar=0.95)[0]
        title, *lines = table.plain().splitlines()
        ends = [
            line.index(cell) + len(cell) for line, cell in zip(lines[1:4], ("0.900", "0.960", "0.990"), strict=True)
        ]
        assert len(set(ends)) == 1
        lines = table.markdown().splitlines()
        assert lines[0] == f"**{title}**"
        assert {line.count("|") for line in lines[2:]} == {len(table.header) + 1}
        assert set(lines[3]) == set("| -:")

    def test_a_bar_in_a_name_is_no_column_in_markdown(self):
        table = Table("of |r|", ["run", "slant |r|"], [["a", "0.5"]])
        assert table.markdown().splitlines()[2:] == [r"| run | slant \|r\| |", "| --- | ---: |", "| a | 0.5 |"]

    def test_what_differs_between_runs_is_said(self):
        assert report_notes(self.THREE) == []
        other = made_up("d", 0.5, 1.0, width=32)
        other["scored"] = {**other["scored"], "dataset": "mnist5k"}
        assert report_notes([*self.THREE, other]) == [
            "the runs differ in width: 64, 32",
            "the runs differ in scored dataset: mnist, mnist5k",
        ]

    def test_distances_in_the_features_of_different_nets_are_said_to_be(self):
        of_before, *others = self.THREE
        ours, theirs = ({**run, "feature_net_sha256": net} for run, net in zip(others, ("a1", "b2"), strict=True))
        assert report_notes([of_before, ours]) == []  # the one has no such distance
        assert report_notes([ours, theirs]) == ["the runs differ in feature_net_sha256: a1, b2"]


class TestEvaluation:
    def test_it_says_what_was_scored_and_how(self, evaluation, trained):
        # The 500 digits that were kept out of training, since no other test images are at hand.
        assert evaluation["scored"] == {
            "dataset": "mnist5k",
            "class_names": list("0123456789"),
            "measurable": ["digits"],
            "images": "test images",
            "n_test_images": 500,
            "n_samples": 100,
            "seed": 0,
        }
        assert (evaluation["run"], evaluation["step"]) == ("tiny", 6)
        config = {**trained.read_config().to_dict(), "name": "tiny"}
        assert config.pop("data_dir")  # of this machine alone
        assert evaluation["config"] == config
        assert evaluation["fresh_q"]["n_images"] == 128
        assert len(evaluation["classifier_sha256"]) == 64
        assert evaluation["environment"]["torch"] == torch.__version__
        (session,) = evaluation["trained"]
        assert session["torch"] == torch.__version__
        assert "command" not in {**session, **evaluation["environment"]}
        assert evaluation["train_seconds"] == load_checkpoint(trained.latest_checkpoint())["log"]["seconds"] > 0
        for model in ("infogan", "vanilla"):
            assert np.sum(evaluation[model]["clustering"]["c1"]["confusion"]) == 500
            assert sum(evaluation[model]["quality"]["digits"]["counts"]) == 100
        assert evaluation["infogan"]["averaged_generator"]
        assert not evaluation["vanilla"]["averaged_generator"]
        assert evaluation["infogan"]["mutual_information"] != evaluation["vanilla"]["mutual_information"]

    def test_it_repeats_itself_and_only_reads_the_checkpoint(self, evaluation, trained, tmp_path):
        path = trained.latest_checkpoint()
        before = hashlib.sha256(path.read_bytes()).digest(), path.stat().st_mtime_ns
        again = evaluate(path, tmp_path, "cpu", seed=0, n_samples=100, fresh_q=TINY_Q)
        assert (hashlib.sha256(path.read_bytes()).digest(), path.stat().st_mtime_ns) == before
        assert {**again, "environment": None} == {**evaluation, "environment": None}

    def test_inception_is_measured_where_the_network_is_given(self, trained, tmp_path):
        class Brightness(torch.nn.Module):
            def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
                return torch.nn.functional.adaptive_avg_pool2d(x.float(), [2, 2]).flatten(1)

        torch.jit.script(Brightness()).save(tmp_path / "network.pt")
        path, network = trained.latest_checkpoint(), tmp_path / "network.pt"
        found = evaluate(path, tmp_path, "cpu", n_samples=100, fresh_q=TINY_Q, inception=network)
        for model in ("infogan", "vanilla"):
            assert found[model]["inception"]["fid"] > 1  # after six steps samples are grey
            assert found[model]["inception"]["n"] == 100
        (fid, kid, deviation) = (found["infogan"]["inception"][key] for key in ("fid", "kid", "kid_deviation"))
        row = ["InfoGAN", f"{fid:.2f}", f"{kid:.4f}", "±", f"{deviation:.4f}"]
        assert row in [line.split() for line in describe_evaluation(found).splitlines()]

    def test_it_is_read_back_as_it_was_saved(self, evaluation, trained):
        path = evaluation_path(trained.latest_checkpoint())
        assert path == trained.folder.absolute() / "evaluation.json"
        save_evaluation(evaluation, path)
        assert read_evaluation(trained.folder, "--report") == evaluation

        def refuse(name):
            raise AssertionError(f"{name} is no JSON")

        json.loads(path.read_text(), parse_constant=refuse)
        matched = evaluation["infogan"]["clustering"]["c1"]["code_to_digit"]
        checkpoint = trained.latest_checkpoint()

        def classes_at(step):
            found = evaluation_at(checkpoint, step)
            return matched_classes(found), class_names(found)

        assert classes_at(step=6) == ({"c1": matched}, list("0123456789"))
        assert classes_at(step=7) == ({}, [])
        path.unlink()
        assert classes_at(step=6) == ({}, [])

    def test_the_readme_s_example_of_a_trained_run_runs(self, evaluation, trained, monkeypatch):
        save_evaluation(evaluation, trained.folder / "evaluation.json")
        monkeypatch.chdir(trained.out_dir)
        names = {}
        # After six steps not every digit has a category.
        digit = next(k for k in evaluation["infogan"]["clustering"]["c1"]["code_to_digit"] if k is not None)
        example = TRAINED_RUN_EXAMPLES["docs/library.md"].replace("runs/NAME", "runs/tiny")
        example = example.replace("index(3)", f"index({digit})")
        exec(compile(example, "docs/library.md", "exec"), names)
        (trained.folder / "evaluation.json").unlink()
        assert names["threes"].shape == (5, 1, 28, 28)
        assert {names["digit_of"][k] for k in names["c"][:, :10].argmax(dim=1)} == {digit}
        assert names["c"][:, 10].tolist() == pytest.approx([0.8] * 5)
        assert len(names["digits"]) == 5
        assert set(names["digits"]) <= {None, *range(10)}

    def test_the_example_of_an_inversion_runs(self, trained, monkeypatch):
        monkeypatch.setattr(encoder_training, "train_encoder", lambda nets: Encoder(nets.spec, nets.image_shape).eval())
        monkeypatch.chdir(trained.out_dir)
        names = {}
        example = TRAINED_RUN_EXAMPLES["docs/inversion.md"].replace("runs/NAME", "runs/tiny")
        exec(compile(example, "docs/inversion.md", "exec"), names)
        assert names["upright"].shape == (5, 1, 28, 28)

    def test_where_the_data_is_is_the_run_s_own_to_know(self, trained, digits, tmp_path, monkeypatch):
        asked = []

        def load(name, data_dir, form):
            asked.append((name, str(data_dir)))
            raise UserError("that is all")

        monkeypatch.setattr(scoring, "load_scored_dataset", load)
        state = load_checkpoint(trained.latest_checkpoint())
        for saved, given in ((tmp_path, None), (tmp_path / "gone", None), (tmp_path, "elsewhere")):
            torch.save({**state, "config": {**state["config"], "data_dir": str(saved)}}, tmp_path / "model.pt")
            with pytest.raises(UserError, match="that is all"):
                evaluate(tmp_path / "model.pt", given, "cpu")
        assert asked == [("mnist5k", str(tmp_path)), ("mnist5k", "data"), ("mnist5k", "elsewhere")]

    def test_a_checkpoint_of_no_run_has_its_evaluation_beside_it(self, trained, tmp_path):
        copy = shutil.copy(trained.latest_checkpoint(), tmp_path / "model.pt")
        assert evaluation_path(tmp_path / "model.pt") == tmp_path / "model.evaluation.json"
        assert load_nets(copy).name == "tiny"

    def test_images_that_are_no_digits_are_scored_without_the_parts_on_digits(self, trained, digits, monkeypatch):
        clothes = type(digits)("fashion", digits.images, digits.labels, digits.test_images, digits.test_labels)
        monkeypatch.setattr(scoring, "load_scored_dataset", lambda name, data_dir, form: clothes)
        path = trained.latest_checkpoint()
        found = evaluate(path, "unused", "cpu", n_samples=100, fresh_q=TINY_Q)
        for model in ("infogan", "vanilla"):
            shown = {"averaged_generator", "mutual_information", "clustering", "categories", "noise", "image_factors"}
            assert found[model].keys() == shown | {"features", "random_features"}
        assert found["classifier_sha256"] is None
        assert "image quality by the digit classifier: need digits, not fashion" in describe_evaluation(found)

    def test_the_full_test_set_is_scored_where_it_is_at_hand(self, data_dir, tmp_path):
        assert len(load_scored_dataset("mnist5k", data_dir).test_images) == 10_000
        assert len(load_scored_dataset("mnist5k", tmp_path).test_images) == 500

    def test_the_table_shows_the_figures(self, evaluation):
        shown = describe_evaluation(evaluation)
        clustering = evaluation["vanilla"]["clustering"]["c1"]
        quality = evaluation["infogan"]["quality"]
        figures = [f"{clustering[key]:.3f}" for key in ("accuracy", "nmi", "ari")]
        assert ["vanilla", "GAN,", "c1", *figures] in [line.split() for line in shown.splitlines()]
        assert f"{quality['frechet_digit_distance']:.3f}" in shown
        assert f"{quality['frechet_digit_distance_floor']:.3f}" in shown
        low, high = evaluation["infogan"]["mutual_information"]["c2"]["fresh_q"]["interval_95"]
        assert f"[{low:.3f}, {high:.3f}]" in shown
        assert "samples of InfoGAN: by the EMA of G" in shown


class TestBaselineNets:
    def test_they_are_those_of_the_vanilla_gan(self, trained):
        path = trained.latest_checkpoint()
        saved = torch.load(path, weights_only=True)["vanilla"]
        nets = load_nets(path, baseline=True)
        for net, part in ((nets.generator, "generator"), (nets.discriminator, "discriminator")):
            assert net.state_dict().keys() == saved[part].keys()
            assert all(torch.equal(value, saved[part][name]) for name, value in net.state_dict().items())
            assert not net.training

    def test_a_checkpoint_without_them_is_refused(self, trained, tmp_path):
        state = torch.load(trained.latest_checkpoint(), weights_only=True)
        torch.save({**state, "vanilla": None}, tmp_path / "alone.pt")
        with pytest.raises(UserError, match="holds no vanilla GAN: expected the checkpoint of a run with --baseline"):
            load_nets(tmp_path / "alone.pt", baseline=True)
        assert load_nets(tmp_path / "alone.pt").step == 6


class TestPictures:
    def test_agreement_is_on_the_diagonal_under_any_naming(self):
        naming = np.random.default_rng(0).permutation(10)
        counts = np.full((10, 10), 1) + 99 * np.eye(10, dtype=int)

        def drawn(naming):
            confusion = np.empty_like(counts)
            confusion[naming] = counts
            matched = np.argsort(naming).tolist()
            clustering = {"confusion": confusion.tolist(), "code_to_digit": matched, "accuracy": 0.9}
            return figures.confusion_figure({"c1": clustering}, "title")

        plain, renamed = drawn(np.arange(10)), drawn(naming)
        # All but the names of the rows, on the left.
        np.testing.assert_array_equal(plain[:, 100:], renamed[:, 100:])
        assert (plain[:, :100] != renamed[:, :100]).any()

    def test_a_class_whose_name_looks_like_a_formula_is_written_as_it_is(self):
        clustering = {"confusion": [[5, 1], [1, 5]], "code_to_digit": [0, 1], "accuracy": 10 / 12}
        # As a formula the first name would be an error, and the second one would lack its dollar signs.
        for name, other in ((r"$\frac$", "a"), ("$a$", r"\$a\$")):
            drawn = [figures.confusion_figure({"c1": clustering}, "", [given, "b"]) for given in (name, other)]
            assert not np.array_equal(*drawn)

    @pytest.mark.parametrize("title", ["Wohnungen im Sommer " * 7, "w" * 140], ids=["words", "one word"])
    def test_a_long_title_is_not_cut_off(self, title):
        table, clustering = {"c1": [0.5, 0.5]}, {"confusion": [[5, 1], [1, 5]], "code_to_digit": [0, 1]}
        known = {"mutual_information": table, "importances": table, "factors": ["size", "hue"]}
        for picture in (
            figures.confusion_figure({"c1": clustering | {"accuracy": 10 / 12}}, title),
            figures.factors_figure({"test images": table}, ["size", "hue"], title),
            figures.factor_matrix_figure(known, title),
            *loss_figures([{"step": 1, "loss_g": 1.0}], LatentSpec.parse("cat2,uniform"), title).values(),
        ):
            for edge in (picture[:, 0], picture[:, -1], picture[0]):
                assert (edge == 255).all()

    def test_opposite_correlations_have_opposite_colours(self):
        table = {"test images": {"c2": [1.0, -1.0, None, 0.0]}}
        picture = figures.factors_figure(table, ["a", "b", "c", "d"], "title").astype(int)
        red, blue = picture[..., 0], picture[..., 2]
        middle = picture.shape[1] // 2
        assert (red - blue)[:, :middle].max() > 60
        assert (red - blue)[:, :middle].min() < -60
        assert abs(red - blue)[:, middle + 10 :].max() < 10

    def test_categories_are_in_the_order_of_their_digits(self):
        spec = LatentSpec.parse("uniform,cat3")
        matched = {"c2": [7, None, 1]}

        def labelled(latents, class_names=()):
            return auxiliary.with_digits(latents, spec, matched, class_names)

        for latents in (
            auxiliary.sweep_latents(spec, 0),
            auxiliary.sample_latents(spec),
            auxiliary.moving_latents(spec, {0: 0.5}),
            auxiliary.two_code_latents(spec, 1, 0),
        ):
            grid = labelled(latents)
            assert list(grid.rows) == ["2 → 1", "0 → 7", "1 → -"]
            assert list(labelled(latents, ["automobile"] * 8).rows) == ["2 → automobile", "0 → automobile", "1 → -"]
            # Whole rows have moved, each with its category, noise and other code.
            n = len(latents.columns)
            for old, new in ((2, 0), (0, 1), (1, 2)):
                for before, after in ((latents.z, grid.z), (latents.c, grid.c)):
                    assert torch.equal(after[new * n : (new + 1) * n], before[old * n : (old + 1) * n])
            assert list(auxiliary.with_digits(latents, spec, {}).rows) == ["0", "1", "2"]
        for latents in (auxiliary.sweep_latents(spec, 1), auxiliary.two_code_latents(spec, 0, 1)):
            grid = labelled(latents)
            assert list(grid.columns) == ["2 → 1", "0 → 7", "1 → -"]
            assert list(labelled(latents, "ABCDEFGH").columns) == ["2 → B", "0 → H", "1 → -"]
            # A long name has no room above a column.
            assert labelled(latents, ["automobile"] * 8).columns == grid.columns
            assert list(grid.rows) == list(latents.rows)
            assert grid.c[:3, spec.c_slices[1]].argmax(dim=1).tolist() == [2, 0, 1]
            assert torch.equal(grid.z.unflatten(0, (-1, 3))[:, 0], latents.z.unflatten(0, (-1, 3))[:, 2])


class TestScript:
    @pytest.fixture(autouse=True)
    def settings_stay(self):
        yield
        torch.use_deterministic_algorithms(False)  # the script switches it on

    def test_the_newest_run_is_evaluated_and_reported(self, script_here, trained, tmp_path, monkeypatch):
        out_dir = trained.out_dir
        monkeypatch.setattr(scoring, "FreshQ", lambda: TINY_Q)
        flags = ("--out-dir", out_dir, "--data-dir", tmp_path, "--n-samples", 100, "--device", "cpu")
        code, out, _ = script_here("evaluate.py", *flags)
        assert code == 0
        evaluation = read_evaluation(trained.folder, "--report")
        assert out.startswith("tiny, step 6: 500 test images of mnist5k, 100 samples, seed 0\n")
        assert out.splitlines()[-1] == str(trained.folder.absolute() / "evaluation.json")
        for name in ("confusion", "factors", "confusion_vanilla", "factors_vanilla"):
            assert (trained.samples / f"{name}.png").is_file()

        code, out, _ = script_here("evaluate.py", "--report", trained.folder, "--markdown", tmp_path / "report.md")
        assert code == 0
        assert "InfoGAN, clustering of real images: 0 of 1 runs reached c1 accuracy 0.95" in out
        accuracy = f"{evaluation['infogan']['clustering']['c1']['accuracy']:.3f}"
        assert f"| tiny | 0 | 6 | {accuracy} |" in (tmp_path / "report.md").read_text()

        # A run by name, another file, and neither the one nor the other is lost.
        before = (trained.folder / "evaluation.json").read_bytes()
        flags = (trained.folder, *flags, "--seed", 1, "--json", tmp_path / "other.json", "--features")
        code, _, _ = script_here("evaluate.py", *flags)
        assert code == 0
        other = read_evaluation(tmp_path / "other.json", "--report")
        assert other["infogan"]["mutual_information"] != evaluation["infogan"]["mutual_information"]
        # Digits are measured by features where that is asked, beside the classifier.
        for name in ("features", "random_features"):
            assert name not in evaluation["infogan"] and "quality" in other["infogan"]
            measured = other["infogan"][name]
            assert measured["frechet_distance"] > 2 * measured["floor"]["frechet_distance"] > 0
        assert (trained.folder / "evaluation.json").read_bytes() == before

    def test_bad_input_is_one_line_and_code_2(self, script_here, trained, tmp_path):
        (tmp_path / "broken.json").write_text("{")
        (tmp_path / "other.json").write_text('{"format": "x"}')
        (tmp_path / "broken.pt").write_bytes(b"PK")
        (tmp_path / "runs" / "bare").mkdir(parents=True)
        bare = tmp_path / "runs" / "bare"
        for flags, message in (
            (["--report", bare], f"--report: expected runs with an evaluation.json, got {bare}; python scripts/evalua"),
            (["--report", tmp_path / "none"], f"--report: expected runs or their evaluation.json, got {tmp_path}"),
            (["--report", tmp_path / "broken.json"], f"--report: cannot read {tmp_path / 'broken.json'}: Expecting"),
            (["--report", tmp_path / "other.json"], "--report: expected an evaluation of format infogan-evaluation-2"),
            ([bare], "run: expected a run's folder, as in runs/<name>, got"),
            (["--out-dir", tmp_path], "run: expected a run or file, or a run under"),
            ([tmp_path / "broken.pt"], f"{tmp_path / 'broken.pt'} is not a checkpoint of this package"),
            ([trained.folder, "--inception", tmp_path], "--inception: expected a file, got"),
            ([trained.folder, "--device", "abacus"], "--device: expected auto, cpu, cuda or cuda:N, got 'abacus'"),
        ):
            code, out, error = script_here("evaluate.py", *flags)
            assert (code, out) == (2, ""), error
            assert error.startswith(f"error: {message}"), error
            assert error.count("\n") == 1
