// Writes GIF files: Graphics Interchange Format, version 89a, with LZW as in its appendix F.

// 256 grays, or 6 × 7 × 6 colours: the eye tells more greens.
const GRAYS = Array.from({ length: 256 }, (_, v) => [v, v, v]);
const COLOURS = Array.from({ length: 252 }, (_, i) =>
  [Math.floor(i / 42) * 51, Math.round((Math.floor(i / 6) % 7) * 42.5), (i % 6) * 51]);

// frames: ImageData of one size. Returns the bytes of a GIF that loops for ever.
function gif(frames, milliseconds) {
  const { width, height } = frames[0], word = (value) => [value & 255, value >> 8];
  const isGray = frames.every(({ data }) => data.every((v, i) => i % 4 === 3 || v === data[i - (i % 4)]));
  const palette = isGray ? GRAYS : COLOURS;
  const indexOf = isGray ? (r) => r
    : (r, g, b) => Math.round(r / 51) * 42 + Math.round(g / 42.5) * 6 + Math.round(b / 51);
  const chunks = [
    [..."GIF89a"].map((ch) => ch.charCodeAt(0)), word(width), word(height), [0xf7, 0, 0],
    Array.from({ length: 256 }, (_, i) => palette[i] ?? [0, 0, 0]).flat(),
    [0x21, 0xff, 11, ...[..."NETSCAPE2.0"].map((ch) => ch.charCodeAt(0)), 3, 1, 0, 0, 0],
  ];
  for (const { data } of frames) {
    const indices = new Uint8Array(width * height);
    for (let i = 0; i < indices.length; i++) indices[i] = indexOf(data[4 * i], data[4 * i + 1], data[4 * i + 2]);
    chunks.push([0x21, 0xf9, 4, 0], word(Math.round(milliseconds / 10)), [0, 0],
      [0x2c, 0, 0, 0, 0], word(width), word(height), [0, 8], ...lzw(indices), [0]);
  }
  chunks.push([0x3b]);
  return new Blob(chunks.map((chunk) => Uint8Array.from(chunk)), { type: "image/gif" });
}

// Returns the code stream of 8-bit indices, in blocks of up to 255 bytes, each after its length.
function lzw(indices) {
  const CLEAR = 256, END = 257, bytes = [];
  let bits = 0, nBits = 0, size = 9, next = 258, codes = new Map(), prefix = indices[0];
  const emit = (code) => {
    bits |= code << nBits;
    for (nBits += size; nBits >= 8; nBits -= 8, bits >>>= 8) bytes.push(bits & 255);
    if (next === 1 << size && size < 12) size++;
  };
  emit(CLEAR);
  for (let i = 1; i < indices.length; i++) {
    const key = prefix << 8 | indices[i], known = codes.get(key);
    if (known !== undefined) { prefix = known; continue; }
    emit(prefix);
    if (next < 4096) {
      codes.set(key, next++);
    } else {
      emit(CLEAR);
      codes = new Map();
      size = 9;
      next = 258;
    }
    prefix = indices[i];
  }
  emit(prefix);
  emit(END);
  if (nBits) bytes.push(bits & 255);
  return Array.from({ length: Math.ceil(bytes.length / 255) }, (_, i) => {
    const block = bytes.slice(255 * i, 255 * i + 255);
    return [block.length, ...block];
  });
}
