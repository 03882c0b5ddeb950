"use strict";
(() => {
  const data = JSON.parse(document.getElementById("browse-rows").textContent);
  const root = document.getElementById("browse");
  const [form, status, list, pages] = ["form", ".status", ".list", "nav"].map((s) => root.querySelector(s));
  const [search, sort] = [form.querySelector("[type=search]"), form.querySelector("select")];
  const [before, place, after] = pages.children;
  const PAGE = 50, LONG = 700; // rows at a time; characters from which on a text is folded
  const rows = data.rows, tuned = data.systems.findIndex((name) => ["tuned", "model"].includes(name));
  const written = tuned >= 0 && rows.some((row) => row.answers[tuned]?.text != null); // not by a reward model
  const number = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, "\u202f");
  const figure = (value, i) => (value === null ? "–" : (data.scales[i] * value).toFixed(1));

  const OWN = { // of a run's rows
    all: () => true,
    wrong: (row) => row.wrong,
    limit: (row) => row.limit,
    copy: (row) => row.copy,
    first: (row) => row.won[0], // and of a comparison's
    second: (row) => row.won[1],
  };
  const FILTERS = (data.filters ?? [["all", "all"], ["wrong", `wrong: ${data.wrong}`], ["limit", "cut at the limit"],
    ["copy", "copies of the input"]].filter(([name]) => name === "all" || (name === "wrong" ? data.wrong : written)))
    .map(([name, label]) => [name, label, OWN[name]]);
  const NEAR = (row) => (row.near ? row.near[1] + row.near[2] : -1);
  const ORDERS = {
    rank: (a, b) => a.rank - b.rank,
    best: (a, b) => b.rank - a.rank,
    gain: (a, b) => a.gain - b.gain,
    near: (a, b) => NEAR(b) - NEAR(a) || a.row - b.row,
    gap: (a, b) => a.gap - b.gap || a.row - b.row,
    row: (a, b) => a.row - b.row,
  };
  rows.forEach((row, index) => { row.row = index; });

  let chosen = rows, page = 0, wanted = [];

  const plain = (text) => text.normalize("NFKC").toLowerCase();
  function haystack(row) {
    row.text ??= plain([row.input, ...row.references, ...row.rejected, ...row.answers.flatMap(
      (answer) => (answer ? [answer.text ?? "", ...answer.why.flat()] : []))].join("\n"));
    return row.text;
  }

  function select() {
    const filter = FILTERS.find(([name]) => name === form.elements.show.value)[2];
    wanted = plain(search.value).split(/\s+/).filter(Boolean);
    chosen = rows.filter((row) => filter(row) && wanted.every((word) => haystack(row).includes(word)));
    chosen.sort(ORDERS[sort.value]);
    show(0);
  }

  function show(next) {
    page = next;
    const [from, to] = [page * PAGE, Math.min((page + 1) * PAGE, chosen.length)];
    const of = chosen.length === rows.length ? "" : ` of ${number(rows.length)}`;
    const range = chosen.length > PAGE ? `, ${number(from + 1)} to ${number(to)} shown` : "";
    status.textContent = chosen.length ? `${number(chosen.length)}${of} ${rows.length === 1 ? "row" : "rows"}${range}`
      : "No row matches.";
    list.replaceChildren(...chosen.slice(from, to).map(article));
    pages.hidden = chosen.length <= PAGE;
    place.textContent = `page ${page + 1} of ${Math.ceil(chosen.length / PAGE)}`;
    before.disabled = page === 0;
    after.disabled = to >= chosen.length;
  }

  function turn(by) {
    show(page + by);
    status.focus({ preventScroll: true });
    root.scrollIntoView();
  }

  /** An element with a class and children; strings become text, never markup. */
  function make(tag, name, ...children) {
    const element = document.createElement(tag);
    if (name) element.className = name;
    element.append(...children.filter((child) => child !== null && child !== ""));
    return element;
  }

  /** A text with what was searched for marked; a long one is folded after its beginning. */
  function shown(tag, name, label, text, pieces = marked) {
    const head = label ? [make("span", "", label), " "] : [];
    const element = make(tag, name, ...head);
    element.dir = "auto";
    if (text.length <= LONG) {
      element.append(...pieces(text));
      return element;
    }
    const begin = text.slice(0, LONG / 2);
    const summary = make("summary", "", make("span", "begin", ...pieces(`${begin}…`)), " ",
      make("small", "", `all ${number(text.length)} characters`));
    const folded = make("details", "", summary, make("div", "", ...pieces(text)));
    folded.open = wanted.some((word) => plain(text).includes(word) && !plain(begin).includes(word));
    element.append(folded);
    return element;
  }

  function marked(text) {
    if (!wanted.length) return [text];
    const quoted = wanted.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    return text.split(new RegExp(`(${quoted.join("|")})`, "giu"))
      .map((piece, i) => (i % 2 ? make("mark", "", piece) : piece)).filter((piece) => piece !== "");
  }

  /** The words of a text, with where they begin and end; of scripts without spaces, the letters. */
  const UNSPACED = "\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Thai}\\p{Script=Lao}\\p{Script=Khmer}\\p{Script=Myanmar}";
  const WORD = new RegExp(`[${UNSPACED}]|(?:(?![${UNSPACED}])[\\p{L}\\p{M}\\p{N}])+`, "gu");
  const wordsOf = (text) => [...text.matchAll(WORD)]
    .map((found) => [found[0].toLowerCase(), found.index, found.index + found[0].length]);
  const runAt = (words, i) => words.slice(i, i + 3).map(([word]) => word).join(" ");

  /** A function that marks, in a text, the runs of three words that another one has too. */
  function sharing(other) {
    const theirs = wordsOf(other);
    const runs = new Set(theirs.slice(2).map((_, i) => runAt(theirs, i)));
    return (text) => {
      const words = wordsOf(text), pieces = [];
      let end = 0, from = -1, to = -1;
      const close = () => {
        if (from < 0) return;
        pieces.push(text.slice(end, from), make("mark", "", text.slice(from, to)));
        end = to;
      };
      words.slice(2).forEach((_, i) => {
        if (!runs.has(runAt(words, i))) return;
        if (words[i][1] > to) { close(); from = words[i][1]; }
        to = words[i + 2][2];
      });
      close();
      return [...pieces, text.slice(end)].filter((piece) => piece !== "");
    };
  }

  function article(row) {
    const made = make("article", "", make("p", "reason", `row ${number(row.row + 1)}`),
      shown("div", "input", "", row.input));
    made.setAttribute("aria-label", `Test row ${row.row + 1}`);
    const called = row.rejected.length ? "Better answer" : "Reference";
    row.references.forEach((text, i) => made.append(
      shown("div", "reference", row.references.length > 1 ? `${called} ${i + 1}` : called, text)));
    row.rejected.forEach((text) => made.append(shown("div", "reference", "Worse answer", text)));
    const pair = make("div", "pair", ...row.answers.map((answer, i) => (answer ? answered(answer, i) : "")));
    if (pair.children.length) made.append(pair);
    if (data.trained.length && row.answers[tuned]?.text) made.append(...near(row));
    return made;
  }

  function answered(answer, system) {
    const made = make("div", "answer", make("h4", "", data.systems[system]));
    if (answer.text !== null) {
      made.append(answer.text.trim() ? shown("div", "text", "", answer.text.trim())
        : make("p", "text", make("em", "", "no answer")));
    }
    const facts = make("p", "facts", answer.finish === "length" ? make("span", "cut", "cut at the limit") : "",
      ...answer.values.map((value, i) => (data.checked && i === 0 && value !== null ? passes(value)
        : make("span", "", `${data.measures[i]} ${figure(value, i)}`))));
    if (facts.children.length) made.append(facts);
    if (answer.why.length) {
      made.append(make("ul", "", ...answer.why.map(([name, why]) => make("li", "", make("b", "", name), ": ", ...marked(why)))));
    }
    return made;
  }

  const passes = (value) => make("span", value === 1 ? "good" : "bad", value === 1 ? "passes all checks" : "fails checks");

  /** The trained row whose answer the tuned answer is nearest to, with what they have in common marked. */
  function near(row) {
    if (!row.near) return [make("div", "near", "No trained answer has three words in a row in common with it.")];
    const [index, share, same, count] = row.near, [input, answer] = data.trained[index];
    const more = count > 1 ? `, the answer of ${number(count)} trained rows` : "";
    const said = same ? "the same words" : `${Math.round(100 * share)} % in common`;
    const text = shown("div", "near", `Nearest trained answer (${said}${more})`, answer, sharing(row.answers[tuned].text));
    return input ? [text, shown("div", "near asked", "Its input", input)] : [text];
  }

  const choices = form.querySelector(".choices");
  for (const [name, label, filter] of FILTERS) {
    const choice = make("input", "");
    Object.assign(choice, { type: "radio", name: "show", value: name, checked: name === "all" });
    const count = rows.filter(filter).length;
    choice.disabled = count === 0 && name !== "all";
    choices.append(make("label", "", choice, ` ${label} `, make("span", "count", number(count))));
  }
  if (data.cut) {
    form.querySelector("small").append(` Texts of more than ${number(data.cut)} characters have lost their middle here.`);
  }
  const possible = [data.measures.length > 0, data.measures.length > 0,
    data.measures.length > 0 && data.systems.includes("base"), data.trained.length > 0, true];
  if (!data.filters) [...sort.options].forEach((option, i) => { if (!possible[i]) option.remove(); });

  let waiting = 0;
  search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(select, 120); });
  form.addEventListener("change", (event) => { if (event.target !== search) select(); });
  form.addEventListener("submit", (event) => { event.preventDefault(); select(); });
  before.addEventListener("click", () => turn(-1));
  after.addEventListener("click", () => turn(1));
  select();
})();
