// Questions about a page, each of which answers with what is wrong. Nothing of it is part of the page.
const rgba = text => { const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number); return {r, g, b, a} };
const luminance = ({r, g, b}) => [r, g, b].map(c => c / 255).map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
  .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
const backdrop = element => {
  for (let e = element; e; e = e.parentElement) {
    const colour = rgba(getComputedStyle(e).backgroundColor);
    if (colour.a === 1) return colour;
    if (colour.a > 0) throw new Error("a translucent background");
  }
  throw new Error("the page has no background of its own");
};
const ratio = (a, b) => { const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y); return (high + .05) / (low + .05) };
const shown = element => element.checkVisibility() && element.getBoundingClientRect().right > 0;
const describe = e => `<${e.localName} class="${e.className}"> ${e.textContent.trim().slice(0, 60)}`;

// contrast: WCAG 2 asks for 4.5, and for 7 where it asks for much.
const contrast = least => [...document.body.querySelectorAll("*")]
  .filter(e => shown(e) && (e.localName === "input" || [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())))
  .flatMap(e => [[e, getComputedStyle(e).color], ...(e.placeholder ? [[e, getComputedStyle(e, "::placeholder").color]] : []),
    ...(e.dataset.label ? [[e, getComputedStyle(e, "::before").color]] : [])])
  .map(([e, colour]) => [e, ratio(rgba(colour), backdrop(e))])
  .filter(([, is]) => is < least).map(([e, is]) => `${is.toFixed(1)} ${describe(e)}`);

const overflow = () => [...document.body.querySelectorAll("*")].filter(e => shown(e) && e.getBoundingClientRect().right > document.documentElement.clientWidth).map(describe).slice(0, 10);

const targets = least => [...document.querySelectorAll("nav a, button, input, th a")].filter(shown)
  .filter(e => e.getBoundingClientRect().height < least).map(describe);

const abroad = () => [...document.links].map(a => a.href).filter(h => !h.startsWith(location.origin + "/statusz"));

const names = () => {
  const wrong = [];
  const must = (ok, what) => { if (!ok) wrong.push(what) };
  const all = selector => [...document.querySelectorAll(selector)];
  must(document.documentElement.lang === "en", "the page has no language");
  must(all("h1").length === 1 && all("main").length === 1, "not one h1 and one main");
  must(document.title.length > 10, "no title");
  must(all('meta[name=viewport]').length === 1, "no viewport");
  must(all("a")[0].getAttribute("href") === "#main", "the first link does not skip to the content");
  let level = 0;
  for (const h of all("h1,h2,h3,h4")) { const l = Number(h.localName[1]); must(l <= level + 1, "a heading skips a level: " + describe(h)); level = l }
  for (const e of all("input:not([type=hidden])")) must(e.labels.length === 1, "an input without label");
  for (const e of all("a,button")) must(e.textContent.trim() !== "", "a link or button without words: " + e.outerHTML.slice(0, 80));
  for (const e of all("nav,section")) must(e.ariaLabel || document.getElementById(e.getAttribute("aria-labelledby"))?.textContent.trim() || !e.matches("nav,section[aria-labelledby]"), "a region without name");
  const ids = all("[id]").map(e => e.id);
  must(new Set(ids).size === ids.length, "an id twice");
  for (const t of all("table")) {
    const heads = [...t.querySelectorAll("thead th")];
    must(heads.length > 1 && heads.every(h => h.scope === "col" && h.textContent.trim()), "a column without header: " + describe(t));
    for (const row of t.querySelectorAll("tbody")) must(row.querySelector("th[scope]"), "a row without header: " + describe(row));
    for (const row of t.querySelectorAll("tbody tr")) must([...row.querySelectorAll("td")].every(d => d.dataset.label || d.className === "none"), "a cell without label: " + describe(row));
  }
  for (const e of all(".badge")) must(e.innerText.replace(/[^a-z]/gi, "").length > 3, "a state by colour alone: " + e.outerHTML);
  return wrong;
};
