// The few things that every part does with the document.

export const byId = (id) => document.getElementById(id);

export function make(tag, text = "", kind = "", attributes = {}) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  if (kind) made.className = kind;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// Writes only what has changed, so that a screen reader is not told the same again.
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function options(picker, list, chosen) {
  const wanted = list.map(([value, text]) => `${value}\n${text}`).join("\t");
  if (picker.dataset.list !== wanted) {
    picker.replaceChildren(...list.map(([value, text]) => make("option", text, "", { value })));
    picker.dataset.list = wanted;
  }
  picker.value = chosen;
}

// A canvas as sharp as the screen; its context counts in CSS pixels.
export function sharp(canvas, width, height) {
  const ratio = devicePixelRatio || 1;
  const [wide, tall] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== wide || canvas.height !== tall) {
    canvas.width = wide;
    canvas.height = tall;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

let colours = new Map();

// A colour of the style sheet for a canvas.
export function colour(name) {
  if (!colours.has(name)) {
    const style = getComputedStyle(document.documentElement);
    colours.set(name, style.getPropertyValue(`--${name}`).trim());
  }
  return colours.get(name);
}

export function forgetColours() {
  colours = new Map();
}
