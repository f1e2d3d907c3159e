// What nets that see the content of an image do besides matrix products: content_nets.py has the same in torch.
// Images are channels-last; places are in half sides from the middle, x to the right and y downwards.

// Adds to out[at], ..., a channel each, the bilinear sample of an image where x and y are, in pixels from the middle of
// its first one, times a weight. Beyond the image, its nearest pixel is repeated, or all is 0.
function addSample(image, { height, width, channels }, x, y, repeats, weight, out, at) {
  if (repeats) {
    x = Math.min(Math.max(x, 0), width - 1);
    y = Math.min(Math.max(y, 0), height - 1);
  }
  const left = Math.floor(x), top = Math.floor(y);
  for (const [row, ofRow] of [[top, top + 1 - y], [top + 1, y - top]]) {
    if (row < 0 || row >= height) continue;
    for (const [column, ofColumn] of [[left, left + 1 - x], [left + 1, x - left]]) {
      if (column < 0 || column >= width) continue;
      const share = weight * ofRow * ofColumn, from = (row * width + column) * channels;
      for (let channel = 0; channel < channels; channel++) out[at + channel] += share * image[from + channel];
    }
  }
}

const pixelAt = (place, size) => ((place + 1) * size - 1) / 2;
const middleOf = (pixel, size) => (2 * pixel + 1) / size - 1;
const isBorder = (row, column, height, width) => row % (height - 1) === 0 || column % (width - 1) === 0;

// Returns the mean of the outermost pixels of each channel.
function borderMeans(image, { height, width, channels }) {
  const sums = new Float32Array(channels), count = 2 * (height + width) - 4;
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      if (!isBorder(row, column, height, width)) continue;
      for (let channel = 0; channel < channels; channel++) sums[channel] += image[(row * width + column) * channels + channel];
    }
  }
  return sums.map((sum) => sum / count);
}

// Returns where the content of an image is, how large it is, and how grey the border.
function contentOf(image, { height, width, channels, least_size, least_content }) {
  const meanOf = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const border = meanOf(borderMeans(image, { height, width, channels }));
  const weights = Float64Array.from({ length: height * width }, (_, i) =>
    (meanOf(image.subarray(i * channels, (i + 1) * channels)) - border) ** 2);
  const missing = Math.max(0, least_content - meanOf(weights));
  let sum = 0, x = 0, y = 0, squares = 0;
  weights.forEach((weight, i) => {
    const w = weight + missing, atX = middleOf(i % width, width), atY = middleOf(Math.floor(i / width), height);
    sum += w;
    x += w * atX;
    y += w * atY;
    squares += w * (atX ** 2 + atY ** 2);
  });
  x /= sum;
  y /= sum;
  return { x, y, size: Math.sqrt(Math.max(squares / sum - x ** 2 - y ** 2, least_size ** 2)), border };
}

// Returns the window of an image's content, each pixel the mean of four samples.
function windowOf(image, layer, { x, y, size }) {
  const { side, channels, width, height } = layer, out = new Float32Array(side * side * channels), n = 2 * side;
  const reach = layer.reach * size;
  for (let row = 0; row < n; row++) {
    for (let column = 0; column < n; column++) {
      const atX = pixelAt(x + reach * middleOf(column, n), width), atY = pixelAt(y + reach * middleOf(row, n), height);
      addSample(image, layer, atX, atY, true, 0.25, out, ((row >> 1) * side + (column >> 1)) * channels);
    }
  }
  return out;
}

// Returns a window with its content in the middle, at one size and turned counter-clockwise; beyond it is its border.
function turned(window, layer, { x, y, size }, angle) {
  const { side, channels } = layer, square = { height: side, width: side, channels }, around = borderMeans(window, square);
  const inner = window.map((value, i) => value - around[i % channels]), out = new Float32Array(window.length);
  const cos = layer.reach * size * Math.cos(angle), sin = layer.reach * size * Math.sin(angle);
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      const right = middleOf(column, side), down = middleOf(row, side), at = (row * side + column) * channels;
      out.set(around, at);
      const atX = pixelAt(x + cos * right - sin * down, side), atY = pixelAt(y + sin * right + cos * down, side);
      addSample(inner, square, atX, atY, false, 1, out, at);
    }
  }
  return out;
}

// Writes the image in which a square window is at a place: x, y, and half its side, in half sides of the image.
function putWindow(window, [x, y, halfSide], { rows, columns, side, channels }, out) {
  const size = { height: side, width: side, channels }, around = borderMeans(window, size);
  const inner = window.map((value, i) => value - around[i % channels]);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const at = (row * columns + column) * channels;
      out.set(around, at);
      const atX = pixelAt((middleOf(column, columns) - x) / halfSide, side);
      const atY = pixelAt((middleOf(row, rows) - y) / halfSide, side);
      addSample(inner, size, atX, atY, false, 1, out, at);
    }
  }
}
