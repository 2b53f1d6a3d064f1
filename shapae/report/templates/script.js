"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";

  // Only textContent and attributes of fixed names: no text of the data is ever read as markup.
  function element(tag, text, attributes = {}) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  // Three significant digits, and all of an integer, as in the tables of the page.
  function show(number) {
    if (number === null) return "unknown";
    if (Number.isInteger(number) && Math.abs(number) < 1e6) return number.toLocaleString("en-US").replace(/-/g, "\u2212");
    const size = Math.abs(number);
    let text;
    if (size < 1e-4 || size >= 1e6) {
      const [digits, exponent] = number.toExponential(2).split("e");
      text = digits + "e" + Number(exponent);
    } else {
      const decimals = Math.max(0, 2 - Number(number.toExponential(2).split("e")[1]));
      text = number.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
    }
    return text.replace(/-/g, "\u2212");
  }

  function bar(kind, x, width, start) {
    const svg = document.createElementNS(SVG, "svg");
    const settings = { class: "bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" };
    for (const [key, value] of Object.entries(settings)) svg.setAttribute(key, value);
    const mark = document.createElementNS(SVG, "path");
    mark.setAttribute("class", "mark");
    mark.setAttribute("d", `M${start} 0v10`);
    const rect = document.createElementNS(SVG, "rect");
    for (const [key, value] of Object.entries({ class: kind, x, y: 1, width, height: 8 })) rect.setAttribute(key, value);
    svg.append(mark, rect);
    return svg;
  }

  function waterfall(data, row) {
    const steps = row.items.map(([at, value, number, error]) => [data.features[at], show(number), value, show(error)]);
    const [others, rest] = row.rest;
    if (others) steps.push([`${others.toLocaleString("en-US")} other feature${others === 1 ? "" : "s"}`, "", rest, ""]);
    const ends = [row.base];
    for (const [, , value] of steps) ends.push(ends[ends.length - 1] + value);
    const low = Math.min(...ends);
    const scale = 100 / (Math.max(...ends) - low || 1);
    const table = element("table", undefined, { class: "waterfall" });
    table.append(element("caption", row.sentence));
    const head = element("tr");
    const titles = ["Feature", "In the row", `From the base value ${show(row.base)} to the score ${show(row.score)}`, "Value"];
    if (data.raw) titles.push("Raw error");
    const kinds = ["", "number", "wide", "number", "number optional"];
    titles.forEach((title, at) => head.append(element("th", title, { scope: "col", class: kinds[at] })));
    const top = element("thead");
    top.append(head);
    const body = element("tbody");
    steps.forEach(([feature, number, value, error], at) => {
      const line = element("tr");
      const name = element("th", undefined, { scope: "row" });
      name.append(element("bdi", feature));
      const cell = element("td", undefined, { class: "wide" });
      const left = (Math.min(ends[at], ends[at + 1]) - low) * scale;
      cell.append(bar(value < 0 ? "lowers" : "raises", left, Math.max(Math.abs(value) * scale, 0.4), (row.base - low) * scale));
      line.append(name, element("td", number, { class: "number" }), cell);
      line.append(element("td", (value > 0 ? "+" : "") + show(value), { class: "number" }));
      if (data.raw) line.append(element("td", error, { class: "number optional" }));
      body.append(line);
    });
    table.append(top, body);
    return table;
  }

  function start(picker) {
    const data = JSON.parse(document.getElementById(picker.id.replace("-picker", "-data")).textContent);
    const select = picker.querySelector("select");
    const [previous, next] = picker.querySelectorAll("button");
    data.rows.forEach((row, at) => select.append(element("option", `${at + 1}. ${row.name} (${show(row.score)})`, { value: at })));
    function draw() {
      previous.disabled = select.selectedIndex === 0;
      next.disabled = select.selectedIndex === data.rows.length - 1;
      picker.querySelector(".story").replaceChildren(waterfall(data, data.rows[select.selectedIndex]));
    }
    function move(step) {
      select.selectedIndex += step;
      draw();
      if (document.activeElement === document.body) select.focus();
    }
    select.addEventListener("change", draw);
    previous.addEventListener("click", () => move(-1));
    next.addEventListener("click", () => move(1));
    picker.hidden = false;
    draw();
  }

  document.querySelectorAll(".picker").forEach(start);
  // The picker shows the first row: its table is closed on the screen, and all tables are open on paper.
  document.querySelectorAll("section > details[open]").forEach((each) => { each.open = false; });
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => { each.open = true; }));
})();
