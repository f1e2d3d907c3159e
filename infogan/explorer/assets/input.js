// An image of the user's, drawn, pasted or dropped, made into what the nets were trained on.

// Returns {image, done}: channels-last in [-1, 1], and in words what was done; image is null where nothing is seen.
function toInput(model, source) {
  const [width, height] = [source.naturalWidth ?? source.width, source.naturalHeight ?? source.height];
  const { channels } = model.image, { data } = pixelsOf(source, 0, 0, width, height, width, height);
  if (!model.is_digits) {
    const aspect = model.image.width / model.image.height;
    const across = Math.min(width, height * aspect), down = across / aspect;
    const left = (width - across) / 2, top = (height - down) / 2;
    const small = pixelsOf(source, left, top, across, down, model.image.width, model.image.height).data;
    const image = new Float32Array(model.image.height * model.image.width * channels);
    for (let i = 0; i < image.length; i++) {
      const pixel = 4 * Math.floor(i / channels);
      image[i] = (channels === 1 ? grayOf(small, pixel) : small[pixel + i % channels]) / 127.5 - 1;
    }
    return { image, done: across === width && down === height ? "resized" : "the centre was cut out and resized" };
  }
  return digitInput(model, data, width, height);
}

function grayOf(data, at) {
  return 0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2];
}

// Returns a part of an image, resized, over black.
function pixelsOf(source, left, top, across, down, width, height) {
  // Halved as often as it goes first: browsers smooth over neighbours alone.
  if (across > 2 * width && down > 2 * height) {
    const half = canvasOf(Math.round(across / 2), Math.round(down / 2));
    drawPart(half, source, left, top, across, down);
    return pixelsOf(half, 0, 0, half.width, half.height, width, height);
  }
  const canvas = canvasOf(width, height);
  drawPart(canvas, source, left, top, across, down);
  return canvas.getContext("2d").getImageData(0, 0, width, height);
}

function drawPart(canvas, source, left, top, across, down) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(source, left, top, across, down, 0, 0, canvas.width, canvas.height);
}

// As the images of MNIST were made: light strokes on black, the longer side of 20 of 28 px, their mass in the centre.
function digitInput(model, data, width, height) {
  const ink = new Float32Array(width * height), border = [];
  for (let i = 0; i < ink.length; i++) ink[i] = grayOf(data, 4 * i);
  for (let x = 0; x < width; x++) border.push(ink[x], ink[(height - 1) * width + x]);
  for (let y = 0; y < height; y++) border.push(ink[y * width], ink[(y + 1) * width - 1]);
  const ground = border.sort((a, b) => a - b)[border.length >> 1];
  let peak = 0;
  const sign = strongest(ink, ground) < 0 ? -1 : 1;
  for (let i = 0; i < ink.length; i++) {
    ink[i] = Math.max(0, sign * (ink[i] - ground));
    peak = Math.max(peak, ink[i]);
  }
  if (peak < 24) return { image: null, done: "nothing stands out from the ground" };
  const threshold = peak / 3; // paper is seldom even
  let [left, right, top, bottom] = [width, -1, height, -1];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const i = y * width + x;
      ink[i] = Math.min(1, Math.max(0, (ink[i] - threshold) / (peak * 0.8 - threshold)));
      if (ink[i] > 0) [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x), Math.min(top, y), Math.max(bottom, y)];
    }
  }
  const cut = canvasOf(right - left + 1, bottom - top + 1), pixels = new ImageData(cut.width, cut.height);
  for (let i = 0; i < cut.width * cut.height; i++) {
    const value = 255 * ink[(top + Math.floor(i / cut.width)) * width + left + i % cut.width];
    pixels.data.set([value, value, value, 255], 4 * i);
  }
  cut.getContext("2d").putImageData(pixels, 0, 0);
  const side = model.image.height, scale = side * 20 / 28 / Math.max(cut.width, cut.height);
  const across = Math.max(1, Math.round(cut.width * scale)), down = Math.max(1, Math.round(cut.height * scale));
  const small = pixelsOf(cut, 0, 0, cut.width, cut.height, across, down).data;
  let mass = 0, meanX = 0, meanY = 0;
  for (let i = 0; i < across * down; i++) {
    mass += small[4 * i];
    meanX += small[4 * i] * (i % across);
    meanY += small[4 * i] * Math.floor(i / across);
  }
  const shiftX = Math.round((side - 1) / 2 - meanX / mass), shiftY = Math.round((side - 1) / 2 - meanY / mass);
  const image = new Float32Array(side * side).fill(-1);
  for (let i = 0; i < across * down; i++) {
    const x = (i % across) + shiftX, y = Math.floor(i / across) + shiftY;
    if (x >= 0 && x < side && y >= 0 && y < side) image[y * side + x] = small[4 * i] / 127.5 - 1;
  }
  return { image, done: `${sign < 0 ? "dark on light was inverted, " : ""}cut out, scaled and centred` };
}

// Returns how far the ink is from the ground: below 0 if it is darker. Ink is what is rarer.
function strongest(ink, ground) {
  let darker = 0, lighter = 0;
  for (const value of ink) {
    darker = Math.max(darker, ground - value);
    lighter = Math.max(lighter, value - ground);
  }
  return lighter - darker;
}
