// Returns the sizes of the page, and the elements that stick out of it or of their own box.
(() => {
  document.querySelectorAll("details").forEach((one) => { one.open = true; });
  const width = document.documentElement.clientWidth;
  const name = (one) => one.outerHTML.slice(0, 160);
  const wide = [], full = [];
  for (const one of document.body.querySelectorAll("*")) {
    // Only readers of the screen meet the heads of tables that are stacked on a telephone.
    const head = one.closest("thead");
    if (head && getComputedStyle(head).clipPath !== "none") continue;
    const box = one.getBoundingClientRect();
    if (box.width > 0 && (box.right > width + 0.5 || box.left < -0.5)) wide.push(name(one));
    // Only SVG cuts what is in it, and it has no text.
    if (!(one instanceof SVGElement) && one.clientWidth > 0 && one.scrollWidth > one.clientWidth + 1)
      full.push(name(one));
  }
  const colour = getComputedStyle(document.body).backgroundColor;
  const scroll = document.documentElement.scrollWidth;
  return { width, scroll, colour, wide: wide.slice(0, 5), full: full.slice(0, 5) };
})()
