// Returns what would be hard to read: texts with little contrast (WCAG 2.2, 1.4.3), headings that
// skip a level, cells without the scope of their heading, and pictures without words.
(() => {
  document.querySelectorAll("details").forEach((one) => { one.open = true; });
  const found = [];
  const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
  const light = (colour) => {
    const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = channels(colour).map((channel) => linear(channel / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (one) => {
    const colour = getComputedStyle(one).backgroundColor;
    return channels(colour)[3] === 0 ? behind(one.parentElement) : colour;
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let least = 21;
  while (texts.nextNode()) {
    const one = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || one instanceof SVGElement) continue;
    const lights = [light(getComputedStyle(one).color), light(behind(one))];
    const contrast = (Math.max(...lights) + 0.05) / (Math.min(...lights) + 0.05);
    least = Math.min(least, contrast);
    if (contrast < 4.5) found.push(`contrast ${contrast}: ${one.outerHTML.slice(0, 160)}`);
  }
  let level = 0;
  for (const one of document.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
    const next = Number(one.localName[1]);
    if (next > level + 1 || (next === 1 && level > 0)) found.push(`level: ${one.outerHTML}`);
    level = next;
  }
  for (const one of document.querySelectorAll("th:not([scope])")) found.push(one.outerHTML);
  for (const one of document.querySelectorAll("svg:not([aria-hidden])"))
    if (one.getAttribute("role") !== "img" || !one.querySelector("title")) found.push(one.outerHTML);
  return { least, found: found.slice(0, 5) };
})()
