"""Installs the package; its requirements and their reasons are in requirements.txt."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
LINES = [line.partition("#")[0].strip() for line in (HERE / "requirements.txt").read_text().splitlines()]
VERSION = next(
    line.split('"')[1]
    for line in (HERE / "infogan" / "__init__.py").read_text().splitlines()
    if line.startswith("__version__")
)

EXPORT = [
    "huggingface_hub>=0.30",  # folders as save_pretrained makes them
    "onnx>=1.17",  # ONNX files
    "onnxscript>=0.3",  # torch's exporter to ONNX
    "onnxruntime>=1.20",  # runs what was exported, to compare it
]

setup(
    name="infogan",
    version=VERSION,
    description="InfoGAN in PyTorch: learns, without labels, which factors make up a set of images.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    packages=find_packages(include=["infogan", "infogan.*"]),
    package_data={"infogan": ["assets/*.pt", "explorer/assets/*", "pretrained/*/*"]},
    python_requires=">=3.10",
    install_requires=[line for line in LINES if line],
    extras_require={
        "inception": ["torchmetrics>=1.4"],  # Inception FID and KID
        "export": EXPORT,
        "glyphs": ["fontpkg-roboto-flex>=3"],  # the font of --dataset glyphs and capitals
        "tensorboard": ["tensorboard>=2.16"],  # train.py --tensorboard
        "dev": [
            "build>=1.2",  # sdist and wheel
            "pytest>=8",  # tests
            "pytest-xdist>=3.7",  # runs them on all cores
            "hypothesis>=6.100",  # tests over many latent specs
            "beartype>=0.18",  # checks the shapes in signatures while testing
            "tensorboard>=2.16",  # what --tensorboard writes is read back
            "scikit-image>=0.22",  # reference for the skeletons of digits
            "fontpkg-roboto-flex>=3",  # the font of --dataset glyphs and capitals
            "torchmetrics>=1.4",  # reference for the Fréchet distance
            *EXPORT,
            "playwright>=1.45",  # drives the installed Chromium: tests of the explorer
            "wasmtime>=20",  # assembles the explorer's matrix multiplication
            "ruff>=0.6",  # style
            "pyright[nodejs]>=1.1.380",  # types
        ],
    },
)
