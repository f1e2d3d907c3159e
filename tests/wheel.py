"""What the installed wheel must do, without the checkout: train, evaluate, draw. Run by .ci/run, in an empty folder."""

from pathlib import Path

import infogan
from infogan import auxiliary
from infogan.evaluation.fresh_q import FreshQ

here = Path.cwd()
assert "site-packages" in Path(infogan.__file__).parts, infogan.__file__
config = infogan.TrainConfig(dataset="mnist5k", width=4, batch_size=64, steps=4, log_every=2, device="cpu")
run = infogan.train(config, here)
few = FreshQ(width=4, n_images=256, epochs=1)
evaluation = infogan.evaluate(run.folder, data_dir=here, n_samples=100, fresh_q=few)  # the classifier is package data
assert 0 < evaluation["infogan"]["quality"]["frechet_digit_distance"] < float("inf")
nets = infogan.load_nets(run.folder)
picture = auxiliary.draw(nets.generator, auxiliary.sweep_latents(nets.spec, 1), "from the wheel")
assert auxiliary.save_png(picture, here / "sweep.png").stat().st_size > 1000
shipped = infogan.load_nets("mnist-digits-seed0")  # package data too
picture = auxiliary.draw(shipped.generator, auxiliary.sweep_latents(shipped.spec, 1), "shipped weights")
assert auxiliary.save_png(picture, here / "shipped.png").stat().st_size > 1000
print("the wheel trains, evaluates and draws")
