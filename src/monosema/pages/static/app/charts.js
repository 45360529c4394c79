// Charts that the server draws: SVG, taken into the page so that its colours follow the page's.
/** @param {string} address @returns {Promise<SVGSVGElement>} */
export async function chart(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw Object.assign(new Error("The chart could not be drawn."), { status: answer.status });
  const { documentElement: picture } = new DOMParser().parseFromString(await answer.text(), "image/svg+xml");
  if (picture.tagName !== "svg") throw new Error("The chart could not be drawn.");
  return /** @type {any} */ (document.importNode(picture, true));
}
