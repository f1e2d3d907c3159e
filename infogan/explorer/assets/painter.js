// Images of the model that is shown, on canvases.

const FRAME_MS = 24; // of a frame's time, what is spent on images; the rest are drawn in the next one
const BATCH = 16;

// Returns G's images of a list of latents, channels-last in [-1, 1], one after the other.
function generate(latents) {
  const inputs = latents.flatMap(({ z, c }) => [...z, ...c]);
  return nets.g().run(Float32Array.from(inputs), latents.length);
}

// Returns what Q reads in an image: the probabilities of each category, and the mean of each continuous code.
function read(image) {
  const params = nets.q().run(image, 1);
  return model.codes.map((code) => {
    if (code.kind === "circular") return [Math.atan2(params[code.q_at + 1], params[code.q_at]) / Math.PI];
    if (code.kind !== "cat") return [params[code.q_at]];
    const logits = [...params.subarray(code.q_at, code.q_at + code.size)], most = Math.max(...logits);
    const weights = logits.map((logit) => Math.exp(logit - most)), sum = weights.reduce((a, b) => a + b);
    return weights.map((weight) => weight / sum);
  });
}

function canvasOf(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}

// Makes a canvas, a new one by default, hold a grid of images.
function forImages(canvas = document.createElement("canvas"), columns = 1, rows = 1) {
  const { width, height } = model.image;
  Object.assign(canvas, { width: columns * width, height: rows * height });
  canvas.classList.toggle("pixels", width < 64);
  canvas.style.aspectRatio = `${columns * width} / ${rows * height}`;
  return canvas;
}

function paint(canvas, image, column = 0, row = 0) {
  const { width, height, channels } = model.image, pixels = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let ch = 0; ch < 3; ch++) {
      pixels.data[4 * i + ch] = Math.round(127.5 * (1 + image[i * channels + (channels === 3 ? ch : 0)]));
    }
    pixels.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(pixels, column * width, row * height);
}

// What is on the page is in sections, each with its images: jobs {latents, done(image)}, made anew when its key changes.
let sections = [];

function addSection(key, jobs) {
  let shown = [];
  sections.push(() => {
    const wanted = key();
    if (wanted.length === shown.length && wanted.every((part, i) => part === shown[i])) return [];
    const made = jobs();
    if (made.length) {
      const last = made.at(-1);
      made[made.length - 1] = { ...last, done: (image) => { last.done(image); shown = wanted; } };
    }
    return made;
  });
}

// Draws what has changed, in order; a further change begins anew with what is then left.
const painter = {
  jobs: [],
  isDue: false,
  refresh() {
    this.jobs = sections.flatMap((section) => section());
    this.schedule();
  },
  schedule() {
    if (this.isDue || !this.jobs.length) return;
    this.isDue = true;
    requestAnimationFrame(() => { this.isDue = false; this.work(); });
  },
  work() {
    const end = performance.now() + FRAME_MS;
    do {
      const batch = this.jobs.splice(0, BATCH);
      const images = generate(batch.map(({ latents }) => latents)), size = images.length / batch.length;
      batch.forEach(({ done }, i) => done(images.subarray(i * size, (i + 1) * size)));
    } while (this.jobs.length && performance.now() < end);
    this.schedule();
  },
};
