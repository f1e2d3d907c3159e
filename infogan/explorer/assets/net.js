// The nets' forward passes. A net is a list of layers, each a matrix product over rows: of whole images (linear), of
// 4 × 4 patches (conv), or of pixels whose products are added up in 4 × 4 patches (upconv; both of stride 2, padding 1).
// Activations are channels-last. The product itself is matmul.wat, in WebAssembly, which is 20 times faster.

const BLOCK_ROWS = 64; // rows of a product at once
const NORM_EPSILON = 1e-5;
const BLOCK_IMAGES = 16; // images at once, so that memory does not grow with a batch
const ACTIVATIONS = {
  relu: (x) => { for (let i = 0; i < x.length; i++) if (x[i] < 0) x[i] = 0; },
  lrelu: (x, slope) => { for (let i = 0; i < x.length; i++) if (x[i] < 0) x[i] *= slope; },
  tanh: (x) => { for (let i = 0; i < x.length; i++) x[i] = Math.tanh(x[i]); },
};

function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64); // of browsers since 2025, and quicker
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

function base64Of(bytes) {
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}

// The value of every float16, by its bits.
const FLOAT_OF_HALF = Float32Array.from({ length: 65536 }, (_, bits) => {
  const sign = bits >> 15 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = (bits & 1023) / 1024;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction);
});

function floatsOf(halves, at, count) {
  return Float32Array.from(at === undefined ? [] : halves.subarray(at, at + count), (half) => FLOAT_OF_HALF[half]);
}

class Net {
  // layers: {kind, k, n, outputs, activation, weight, bias, …}: weight and bias are places in halves
  constructor(layers, halves, wasm) {
    const { memory, matmul } = new WebAssembly.Instance(wasm).exports;
    const most = (size) => Math.max(...layers.map((layer) => size(layer) ?? 0));
    let end = 64;
    const reserve = (count) => { const at = end; end += 4 * count + 64 - (4 * count) % 64; return at; };
    this.x = reserve(BLOCK_ROWS * most((layer) => layer.k));
    this.y = reserve(BLOCK_ROWS * most((layer) => layer.n));
    this.list = reserve(2 * BLOCK_ROWS * (most((layer) => layer.k) + 1));
    const within = (list) => list && new Net(list, halves, wasm);
    this.layers = layers.map((layer) => layer.k === undefined ? {
      ...layer, windows: within(layer.windows), place: within(layer.place),
      gains: floatsOf(halves, layer.weight, layer.outputs), means: floatsOf(halves, layer.mean, layer.mean_size),
      ownSizes: floatsOf(halves, layer.own_size, layer.latents), biases: floatsOf(halves, layer.bias, layer.outputs),
    } : {
      ...layer, weightAt: reserve(layer.k * layer.n), productBiasAt: reserve(layer.n),
      biases: floatsOf(halves, layer.bias, layer.outputs),
    });
    memory.grow(Math.ceil(end / 65536) - 1);
    this.memory = new Float32Array(memory.buffer);
    for (const layer of this.layers.filter(({ k }) => k)) {
      const from = layer.weight, to = layer.weightAt / 4;
      for (let i = 0; i < layer.k * layer.n; i++) this.memory[to + i] = FLOAT_OF_HALF[halves[from + i]];
      // An upconv's bias belongs to the sums of its products, not to each of them.
      if (layer.kind !== "upconv") this.memory.set(layer.biases, layer.productBiasAt / 4);
    }
    this.matmul = matmul;
  }

  // Returns the outputs of n inputs, one after the other.
  run(inputs, n) {
    const size = inputs.length / n, parts = [];
    for (let i = 0; i < n; i += BLOCK_IMAGES) {
      const count = Math.min(BLOCK_IMAGES, n - i);
      let x = inputs.subarray(i * size, (i + count) * size);
      for (const layer of this.layers) {
        x = this[layer.kind](layer, x, count);
        ACTIVATIONS[layer.activation]?.(x, layer.slope);
      }
      parts.push(x);
    }
    const outputs = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
    parts.reduce((at, part) => { outputs.set(part, at); return at + part.length; }, 0);
    return outputs;
  }

  // Has `fill` write blocks of rows of x, and `take` use those of y; each is given the first row, their number, a place.
  product(layer, rows, fill, take) {
    for (let first = 0; first < rows; first += BLOCK_ROWS) {
      const count = Math.min(BLOCK_ROWS, rows - first);
      fill(first, count, this.x / 4);
      this.matmul(this.x, count, layer.k, layer.weightAt, layer.productBiasAt, layer.n, this.y, this.list);
      take(first, count, this.y / 4);
    }
  }

  // Where the rows of a product are the rows of what there is, they are copied as they are.
  copyRows(x, size) {
    return (first, count, at) => this.memory.set(x.subarray(first * size, (first + count) * size), at);
  }

  takeRows(out, { n, outputs }) {
    return (first, count, at) => {
      for (let r = 0; r < count; r++) {
        out.set(this.memory.subarray(at + r * n, at + r * n + outputs), (first + r) * outputs);
      }
    };
  }

  // Angles, in half turns, become their cosines, and their sines follow all columns.
  angles({ columns }, x, count) {
    const size = x.length / count, out = new Float32Array(count * (size + columns.length));
    for (let r = 0; r < count; r++) {
      const row = out.subarray(r * (size + columns.length));
      row.set(x.subarray(r * size, (r + 1) * size));
      columns.forEach((column, i) => {
        const angle = Math.PI * row[column];
        row[column] = Math.cos(angle);
        row[size + i] = Math.sin(angle);
      });
    }
    return out;
  }

  linear(layer, x, count) {
    const out = new Float32Array(count * layer.outputs);
    this.product(layer, count, this.copyRows(x, layer.inputs), this.takeRows(out, layer));
    return out;
  }

  conv(layer, x, count) {
    const { height, width, channels, outputs, k } = layer, { memory } = this;
    const down = height >> 1, across = width >> 1, size = down * across;
    const out = new Float32Array(count * size * outputs);
    const patches = (first, rows, at) => {
      memory.fill(0, at, at + rows * k);
      for (let r = first; r < first + rows; r++, at += k) {
        const image = Math.floor(r / size), top = 2 * Math.floor((r % size) / across) - 1, left = 2 * (r % across) - 1;
        const from = Math.max(left, 0), to = Math.min(left + 4, width);
        for (let i = Math.max(0, -top); i < 4 && top + i < height; i++) {
          const line = (image * height + top + i) * width;
          memory.set(x.subarray((line + from) * channels, (line + to) * channels), at + (4 * i + from - left) * channels);
        }
      }
    };
    this.product(layer, count * size, patches, this.takeRows(out, layer));
    return out;
  }

  upconv(layer, x, count) {
    const { height, width, channels, outputs, biases, n } = layer, { memory } = this, size = height * width;
    const out = new Float32Array(count * 4 * size * outputs);
    for (let i = 0; i < out.length; i += outputs) out.set(biases, i);
    const add = (first, rows, at) => {
      for (let r = first; r < first + rows; r++, at += n) {
        const image = Math.floor(r / size), top = 2 * Math.floor((r % size) / width) - 1, left = 2 * (r % width) - 1;
        const from = Math.max(left, 0), to = Math.min(left + 4, 2 * width);
        for (let i = Math.max(0, -top); i < 4 && top + i < 2 * height; i++) {
          let target = ((image * 2 * height + top + i) * 2 * width + from) * outputs;
          const end = at + (4 * i + to - left) * outputs;
          for (let j = at + (4 * i + from - left) * outputs; j < end; j++) out[target++] += memory[j];
        }
      }
    };
    this.product(layer, count * size, this.copyRows(x, channels), add);
    return out;
  }

  crop(layer, x, count) {
    const { height, width, channels, rows, columns } = layer, out = new Float32Array(count * rows * columns * channels);
    for (let r = 0; r < count * rows; r++) {
      const from = (Math.floor(r / rows) * height + (r % rows)) * width * channels;
      out.set(x.subarray(from, from + columns * channels), r * columns * channels);
    }
    return out;
  }

  // Normalises each image or row of features by itself.
  norm({ gains, biases, outputs }, x, count) {
    const size = x.length / count, out = new Float32Array(x.length);
    for (let r = 0; r < count; r++) {
      const row = x.subarray(r * size, (r + 1) * size);
      const mean = row.reduce((sum, value) => sum + value, 0) / size;
      const scale = 1 / Math.sqrt(row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / size + NORM_EPSILON);
      for (let i = 0; i < size; i++) out[r * size + i] = (row[i] - mean) * scale * gains[i % outputs] + biases[i % outputs];
    }
    return out;
  }

  content(layer, x, count) {
    const size = x.length / count, windowSize = layer.side ** 2 * layer.channels;
    const windows = new Float32Array(count * windowSize), places = [];
    for (let r = 0; r < count; r++) {
      const image = x.subarray(r * size, (r + 1) * size), content = contentOf(image, layer);
      windows.set(windowOf(image, layer, content), r * windowSize);
      const logSize = Math.log(content.size / layer.size_unit);
      places.push([content.x, content.y, logSize, content.border].map((value) => layer.place_scale * value));
    }
    const features = layer.windows.run(windows, count), n = features.length / count;
    return Float32Array.from(places.flatMap((place, r) => [...features.subarray(r * n, (r + 1) * n), ...place]));
  }

  posed(layer, x, count) {
    const drawn = layer.windows.run(x, count), places = layer.place.run(x, count), { side, angle } = layer;
    const size = drawn.length / count, channels = size / side ** 2;
    const out = new Float32Array(count * layer.rows * layer.columns * channels);
    for (let r = 0; r < count; r++) {
      const latents = x.subarray((r * x.length) / count, ((r + 1) * x.length) / count);
      const window = drawn.subarray(r * size, (r + 1) * size).map((value, i) => value + layer.means[i]);
      const square = { ...layer, channels, height: side, width: side };
      // The noise says in which of the equal parts of a turn an angle is.
      const part = angle ? angle.parts_by.filter((least) => latents[0] > least).length : 0;
      const turn = angle ? (Math.PI / angle.order) * (latents[angle.column] + 2 * part) : 0;
      const shown = turned(window, square, contentOf(window.map(Math.tanh), square), turn);
      const [atX, atY, sizeByCode] = places.subarray(3 * r, 3 * r + 3);
      const deviation = sizeByCode * Math.exp(latents.reduce((sum, value, i) => sum + value * layer.ownSizes[i], 0));
      const halfSide = layer.reach * Math.max(deviation, layer.least_size);
      putWindow(shown, [atX, atY, halfSide], square, out.subarray((r * out.length) / count, ((r + 1) * out.length) / count));
    }
    return out;
  }
}
