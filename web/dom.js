// Elements without markup in strings: whatever a name holds, it is shown as text.

/** Makes an element: properties by name, `class`, `data-…`, `aria-…` and `on…` as one expects. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === 'class') element.className = value;
    else if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name in element && !name.includes('-')) element[name] = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SVG = 'http://www.w3.org/2000/svg';

/** The same for a picture. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.flat(Infinity));
  return element;
}

/** Says something to people who listen instead of look. */
export function announce(text) {
  document.getElementById('announcer').textContent = text;
}

export const count = (number, noun, nouns = `${noun}s`) => `${number.toLocaleString('en')} ${number === 1 ? noun : nouns}`;

export const percent = (part) => `${(100 * part).toFixed(part > 0 && part < 0.1 ? 1 : 0)} %`;

/** MiB in the largest unit that reads well. */
export function memory(mib) {
  const units = ['MiB', 'GiB', 'TiB', 'PiB'];
  let at = 0;
  while (mib >= 1024 && at + 1 < units.length) {
    mib /= 1024;
    at += 1;
  }
  return `${mib >= 100 || Number.isInteger(mib) ? Math.round(mib) : mib.toFixed(1)} ${units[at]}`;
}
