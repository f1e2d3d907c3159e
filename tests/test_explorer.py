"""The explorer: its nets agree with torch, and in a browser it does what a person asks of it."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_folding import SHAPES, live, real_images

import infogan
from infogan import TrainConfig, UserError, evaluating, sample_prior
from infogan.explorer import page as page_module
from infogan.explorer.page import ASSETS, Explored, write_page
from infogan.inversion.encoder import Encoder
from infogan.training.checkpoint import TrainedNets
from infogan.training.trainer import make_extensions, make_nets

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
HALF = 2.0**-11  # relative error of a weight in float16


def nets_of(codes="cat10,uniform,uniform", image_shape=(1, 28, 28), name="untrained", **changes):
    """Returns nets with extensions whose weights are random."""
    config = TrainConfig(codes=codes, width=4, name=name, **changes)
    torch.manual_seed(0)
    generator, discriminator = make_nets(config, image_shape, make_extensions(config), "cpu")
    checkpoint = Path("nowhere", "step_7.pt")
    return TrainedNets(name, generator, False, discriminator, config.spec, config, 7, None, image_shape, checkpoint)


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)


@pytest.fixture
def visit(browser):
    """Opens a page from disk, in a window of its own; it must fetch nothing from elsewhere and raise no error."""
    faults, contexts = [], []

    def go(path, address="", **window):
        contexts.append(browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **window}))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "request", lambda request: request.url.startswith(("file:", "blob:", "data:")) or faults.append(request.url)
        )
        page.goto(f"{path.as_uri()}{address}")
        page.wait_for_function("document.getElementById('caption').textContent !== ''")
        return page

    yield go
    for context in contexts:
        context.close()
    assert not faults


def channels_last(x):
    return x.permute(0, 2, 3, 1).flatten().tolist()


@pytest.mark.parametrize("image_shape", SHAPES, ids=str)
def test_the_nets_of_a_page_agree_with_torch(image_shape, digits, visit, tmp_path):
    nets = nets_of("cat3,uniform,circular,cat4,gaussian", image_shape)
    x, encoder = real_images(digits, image_shape), Encoder(nets.spec, image_shape)
    with torch.no_grad():
        live(nets.generator, nets.discriminator, nets.spec, x)
        encoder.train()(x)
    encoder.eval()
    page = visit(*write_page([Explored(nets, encoder)], tmp_path / "page.html"))
    z, c = sample_prior(nets.spec, 9, torch.Generator().manual_seed(0))
    with torch.inference_mode():
        images, q_params, noise = nets.generator(z, c), nets.discriminator(x)[1], encoder(x)
    latents = [{"z": each_z, "c": each_c} for each_z, each_c in zip(z.tolist(), c.tolist(), strict=True)]
    drawn = torch.tensor(page.evaluate("(latents) => [...generate(latents)]", latents))
    grey_levels = 127.5 * (drawn - torch.tensor(channels_last(images))).abs()
    assert grey_levels.mean() < 1 and images.std() > 0.1
    run = "([net, x]) => [...nets[net]().run(Float32Array.from(x), 12)]"
    for net, expected in (("q", q_params), ("encoder", noise)):
        got = torch.tensor(page.evaluate(run, [net, channels_last(x)])).view_as(expected)
        assert (got - expected).abs().max() < 20 * HALF * expected.abs().max(), net


@pytest.mark.parametrize(
    ("image_shape", "codes"), [((1, 64, 64), "cat3,circular:rotation/4,scale,shift-x"), ((3, 32, 48), "cat4,cat2")]
)
def test_nets_that_see_the_content_agree_with_torch(image_shape, codes, digits, visit, tmp_path):
    nets = nets_of(codes, image_shape, nets="content", class_conditional_d=False)
    x = real_images(digits, image_shape)
    torch.manual_seed(0)
    with torch.no_grad():
        live(nets.generator, nets.discriminator, nets.spec, x)
        # Windows anywhere, beyond the image too.
        nets.generator.pose.fit(torch.rand((500, 3)) * torch.tensor([2.0, 2.0, 0.6]) - torch.tensor([1.0, 1.0, -0.1]))
        nets.generator.pose.own_size.weight.normal_(0, 0.3)
        nets.generator.mean_window.normal_(0, 0.5)
        nets.generator.draw[-1].weight.normal_(0, 0.5)
        for layer in nets.discriminator.trunk[0].layers:
            if isinstance(layer, torch.nn.GroupNorm | torch.nn.LayerNorm):
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.uniform_(-0.5, 0.5)
    page = visit(*write_page([Explored(nets)], tmp_path / "page.html"))
    z, c = sample_prior(nets.spec, 9, torch.Generator().manual_seed(0))
    with evaluating(nets.generator, nets.discriminator), torch.inference_mode():
        images, q_params = nets.generator(z, c), nets.discriminator(x)[1]
    latents = [{"z": each_z, "c": each_c} for each_z, each_c in zip(z.tolist(), c.tolist(), strict=True)]
    drawn = torch.tensor(page.evaluate("(latents) => [...generate(latents)]", latents))
    grey_levels = 127.5 * (drawn - torch.tensor(channels_last(images))).abs()
    assert grey_levels.mean() < 1 and images.std() > 0.05
    got = torch.tensor(page.evaluate("(x) => [...nets.q().run(Float32Array.from(x), 12)]", channels_last(x)))
    assert (got.view_as(q_params) - q_params).abs().max() < 20 * HALF * q_params.abs().max()


def test_the_product_in_the_page_is_what_its_source_says():
    wasmtime = pytest.importorskip("wasmtime")
    assert bytes(wasmtime.wat2wasm((ASSETS / "matmul.wat").read_text())) == (ASSETS / "matmul.wasm").read_bytes()


# What a person does, on the trained model of MNIST that the package has.


@pytest.fixture(scope="module")
def mnist_page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explorer")
    return write_page([Explored.load("mnist-digits-seed0")], folder / "explorer.html")[0]


@pytest.fixture
def page(visit, mnist_page):
    return visit(mnist_page, accept_downloads=True)


def caption(page):
    return page.inner_text("#caption")


def shown(page, canvas="#image"):
    """The pixels of a canvas, once nothing is left to be drawn."""
    page.wait_for_function("!painter.isDue")
    return page.evaluate(f"[...$('{canvas[1:]}').getContext('2d').getImageData(0, 0, 28, 28).data]")


def drag(page, target, *points):
    """Draws a stroke through points, in fractions of an element's width and height."""
    page.locator(target).scroll_into_view_if_needed()
    box = page.locator(target).bounding_box()
    places = [(box["x"] + u * box["width"], box["y"] + v * box["height"]) for u, v in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=3)
    page.mouse.up()


SHAPES_OF_DIGITS = {
    "0": [[(0.5 + 0.22 * math.cos(t / 12 * math.pi), 0.5 + 0.3 * math.sin(t / 12 * math.pi)) for t in range(25)]],
    "1": [[(0.5, 0.15), (0.5, 0.85)]],
    "7": [[(0.25, 0.2), (0.75, 0.2), (0.45, 0.85)]],
}


@pytest.mark.parametrize("digit", SHAPES_OF_DIGITS)
def test_a_digit_that_is_drawn_is_read_by_q_and_drawn_by_g(page, digit):
    for stroke in SHAPES_OF_DIGITS[digit]:
        drag(page, "#drawing", *stroke)
    assert page.inner_text("#reading h3").endswith(f" {digit}")
    before = shown(page)
    page.click("#use")
    assert caption(page).startswith(f"c1 {digit} ") and "as it was found" in caption(page)
    assert shown(page) == shown(page, "#nearest") != before
    page.keyboard.press("5")  # "make it a 5"
    assert caption(page).startswith("c1 5 ")


def test_a_dark_digit_on_paper_is_read(page, digits, tmp_path):
    ink = digits.images[0, 0].float().div(255)
    sheet = torch.nn.functional.interpolate(ink[None, None], scale_factor=6, mode="bilinear")[0, 0]
    paper = torch.nn.functional.pad(230 - 190 * sheet, (90, 40, 20, 120), value=230)
    paper += 12 * torch.linspace(-1, 1, paper.shape[1]) + 4 * torch.randn(
        paper.shape, generator=torch.Generator().manual_seed(0)
    )
    Image.fromarray(paper.clamp(0, 255).byte().numpy()).save(tmp_path / "photo.jpg")
    page.set_input_files("#file", tmp_path / "photo.jpg")
    page.wait_for_function("$('reading').style.visibility === 'visible'")
    assert "inverted" in page.inner_text("#done")
    assert page.inner_text("#reading h3").endswith(f" {digits.labels[0]}")


def test_what_is_no_image_is_said(page, tmp_path):
    (tmp_path / "notes.png").write_text("not an image")
    page.set_input_files("#file", tmp_path / "notes.png")
    page.wait_for_function("$('done').textContent === 'notes.png is not an image that this browser reads.'")


def test_codes_are_set_by_click_slider_number_key_and_pad(page):
    first = shown(page)
    page.click("#codes .cell[title='3']")
    assert caption(page).startswith("c1 3 ")
    page.locator("#codes input[type=range]").first.focus()
    for _ in range(5):
        page.keyboard.press("End")
    assert " c2 1.00 " in caption(page)
    page.fill("#codes input[type=number] >> nth=1", "-0.25")
    assert " c3 −0.25 " in caption(page)
    page.locator("h1").click()
    page.keyboard.press("8")
    assert caption(page).startswith("c1 8 ")
    drag(page, "#pad", (0.5, 0.5), (1.5 / 7, 2.5 / 7))  # the middle of a cell
    assert " c2 −0.33 · c3 −0.67 " in caption(page)
    page.focus("#pad")
    page.keyboard.press("ArrowRight")
    assert " c3 −0.62 " in caption(page)
    assert shown(page) != first


def test_noise_is_drawn_anew_kept_and_found_again(page):
    start = shown(page)
    page.click("#new-noise")
    other, said = shown(page), caption(page)
    assert other != start
    page.click("#back")
    assert shown(page) == start
    page.click("#forward")
    assert (shown(page), caption(page)) == (other, said)
    page.check("#lock")
    page.click("#surprise")
    assert caption(page).split("noise")[1] == said.split("noise")[1]
    page.uncheck("#lock")
    page.fill("#seed", "0")
    page.keyboard.press("Enter")
    assert caption(page).endswith("noise 0")


def test_an_address_is_an_image(page, visit, mnist_page):
    page.click("#new-noise")
    page.click("#codes .cell[title='9']")
    page.wait_for_function("location.hash.includes('codes')")
    page.wait_for_timeout(300)
    again = visit(mnist_page, page.url[page.url.index("#") :])
    assert (shown(again), caption(again)) == (shown(page), caption(page))
    page.fill("#t", "0.4")
    page.click("#take")  # a blend of two categories, between two noises
    page.wait_for_function("location.hash.includes(':')")
    again = visit(mnist_page, page.url[page.url.index("#") :])
    assert shown(again) == shown(page)
    for wrong in ("#model=other", "#model=mnist-digits-seed0&codes=99,0,0&seed=1", "#codes=1&noise=%%", "#seed=9e99"):
        assert caption(visit(mnist_page, wrong)).endswith("noise 0")


def test_the_way_from_a_to_b(page):
    page.click("#codes .cell[title='3']")
    page.click("#set-a")
    page.click("#codes .cell[title='8']")
    page.click("#set-b")
    at = {}
    for path in ("hold", "switch", "blend"):
        page.select_option("#category-path", path)
        for t in ("0", "0.4", "1"):
            page.fill("#t", t)
            at[path, t] = shown(page, "#way")
    assert at["blend", "0"] == at["hold", "0"] == shown(page, "#pin-a")
    assert at["blend", "1"] == at["switch", "1"] == shown(page, "#pin-b") != at["hold", "1"]
    assert at["hold", "0.4"] == at["switch", "0.4"] != at["blend", "0.4"]
    page.click("#play")
    page.wait_for_function("Number($('t').value) > 0.05 && Number($('t').value) < 0.95")
    page.click("#play")
    page.click("#take")
    assert shown(page) == shown(page, "#way")


def test_files_are_saved(page):
    def saved(button):
        with page.expect_download() as download:
            page.click(button)
        return download.value.path()

    pixels = np.asarray(shown(page), dtype=np.uint8).reshape(28, 28, 4)[..., 0]
    assert (np.asarray(Image.open(saved("#save-png")).convert("L"))[::9, ::9] == pixels).all()
    latents = json.loads(saved("#save-json").read_text())
    nets = infogan.load_nets("mnist-digits-seed0")
    with torch.inference_mode():
        x = nets.generator(torch.tensor([latents["z"]]), torch.tensor([latents["c"]]))
    assert np.abs((x[0, 0].numpy() + 1) * 127.5 - pixels).mean() < 1
    with Image.open(saved("#save-gif")) as gif:
        assert (gif.n_frames, gif.size, gif.info["loop"]) == (40, (252, 252), 0)
        gif.seek(20)
        far = np.asarray(gif.convert("L"))
        gif.seek(0)
        assert np.abs(far.astype(int) - np.asarray(gif.convert("L"))).mean() > 3


def test_nothing_moves_when_things_change(page):
    """No layout shift: what lies below an image stays where it is."""
    tops = "[...document.querySelectorAll('section')].map((section) => section.getBoundingClientRect().top + scrollY)"
    before = page.evaluate(tops)
    page.click("#new-noise")
    page.click("#codes .cell[title='1']")
    drag(page, "#drawing", (0.5, 0.2), (0.5, 0.8))
    assert page.evaluate(tops) == before


def test_a_phone_sees_it_all_in_its_width(visit, mnist_page):
    page = visit(mnist_page, viewport={"width": 390, "height": 844}, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.tap("#codes .cell[title='4']")
    assert caption(page).startswith("c1 4 ")


def test_the_screenshot_of_the_docs(visit, mnist_page, tmp_path):
    """`INFOGAN_SCREENSHOTS=docs python -m pytest tests/test_explorer.py -k screenshot` makes those of the docs."""
    folder = Path(os.environ.get("INFOGAN_SCREENSHOTS", tmp_path))
    for name, window in {
        "explorer.png": {"viewport": {"width": 1200, "height": 900}},
        "explorer-phone.png": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
    }.items():
        page = visit(mnist_page, "#model=mnist-digits-seed0&codes=3,0.4,0.2&seed=5", **window)
        for stroke in SHAPES_OF_DIGITS["7"]:
            drag(page, "#drawing", *stroke)
        page.wait_for_function("!painter.isDue && $('reading').style.visibility === 'visible'")
        page.screenshot(path=folder / name, full_page=True)
        with Image.open(folder / name) as picture:
            assert picture.width == window["viewport"]["width"] and picture.height > 1500
            assert len(picture.convert("L").getcolors()) > 100  # images, not black canvases


def test_the_page_is_small_and_names_nothing_elsewhere(mnist_page):
    text = mnist_page.read_text(encoding="utf-8")
    assert mnist_page.stat().st_size < 10_000_000
    assert not re.findall(r"https?://|//[a-z]+\.|@import|<link(?! rel=\"icon\" href=\"data:)", text)


# Several models, and large ones.


def test_large_models_lie_beside_the_page(visit, tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "MAX_PAGE_BYTES", 1000)
    models = [Explored(nets_of(name="first")), Explored(nets_of("uniform", (3, 32, 32), name="second"))]
    path, *beside = write_page(models, tmp_path / "page.html")
    assert [file.relative_to(tmp_path).as_posix() for file in beside] == ["page_files/first.js", "page_files/second.js"]
    page = visit(path)
    assert caption(page).startswith("c1 ") and page.title() == "first – InfoGAN explorer"
    page.select_option("#model", "second")
    page.wait_for_function("document.title === 'second – InfoGAN explorer'")
    assert page.is_hidden("#pad-box")  # it has one code
    beside[0].unlink()
    page.select_option("#model", "second")
    page = visit(path, "#model=second")
    page.select_option("#model", "first")
    page.wait_for_function(
        "$('message').textContent === 'page_files/first.js is missing; it belongs beside this page.'"
    )


def test_two_models_of_one_name_are_refused(tmp_path):
    with pytest.raises(UserError, match="--checkpoint: expected runs of different names, got same twice"):
        write_page([Explored(nets_of(name="same"))] * 2, tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


# The script


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--output", "page.txt"], "--output: expected a file that ends in .html, got 'page.txt'"),
        (["--output", "nowhere/page.html"], "--output: expected a file in a folder that can be written"),
        (["--checkpoint", "nothing"], "--checkpoint: expected"),
    ],
)
def test_bad_flags_are_one_line(script_here, flags, said):
    code, out, err = script_here("explore.py", *flags)
    assert code == 2 and err.startswith(f"error: {said}") and err.count("\n") == 1 and not out


def test_without_a_browser_the_page_is_named(script_here, tmp_path, monkeypatch):
    monkeypatch.setattr("webbrowser.open", lambda url: False)
    page = tmp_path / "page.html"
    code, out, err = script_here("explore.py", "--output", page)
    assert code == 0 and str(page) in out and "no browser" in err
    assert "mnist-digits-seed0" in page.read_text()
