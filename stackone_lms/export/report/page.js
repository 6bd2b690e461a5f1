"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const get = (id) => document.getElementById(id);
  const count = new Intl.NumberFormat("en");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const MOST = 12;

  const share = (part) => (part.passed + part.failed ? part.passed / (part.passed + part.failed) : null);
  const rate = (part) => (part.assigned ? (part.assigned - part.open) / part.assigned : null);
  const percent = (value) => (value === null ? "–" : `${(100 * value).toFixed(value === 1 ? 0 : 1)} %`);
  const time = (minutes) => {
    if (minutes === null) return "–";
    const whole = Math.round(minutes);
    if (whole < 1) return "< 1 min";
    return whole < 60 ? `${whole} min` : `${Math.floor(whole / 60)} h ${String(whole % 60).padStart(2, "0")} min`;
  };

  const minute = (moment) => `${moment.slice(0, 16).replace("T", " ")} UTC`;
  const moments = (account) => {
    const [first, last] = (account.as_of ?? []).map(minute);
    return first === undefined ? "never" : first === last ? first : `${first} to ${last}`;
  };

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  // Plotly reads some tags in labels; titles are text.
  const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const short = (text, most) => (text.length > most ? `${text.slice(0, most - 1).trimEnd()}…` : text);
  // In two lines, broken where the longer one is shortest.
  const wrapped = (text, most) => {
    const words = text.split(" ");
    const halves = words.map((_, n) => [words.slice(0, n).join(" "), words.slice(n).join(" ")]);
    const longest = (half) => Math.max(...half.map((line) => line.length));
    const lines = text.length > most ? halves.reduce((a, b) => (longest(b) < longest(a) ? b : a)) : [text];
    return lines.filter(Boolean).map((line) => `${plain(short(line, most))} `).join("<br>");
  };

  const layout = (more) => ({
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 13, color: color("text") },
    margin: { l: 8, r: 12, t: 8, b: 8 },
    barmode: "stack",
    bargap: 0.28,
    dragmode: false,
    hoverlabel: { bgcolor: color("card"), bordercolor: color("line"), font: { color: color("text") } },
    showlegend: false,
    ...more,
  });
  const axis = (more) => ({
    fixedrange: true, automargin: true, gridcolor: color("line"), zerolinecolor: color("line"), linecolor: color("line"),
    tickfont: { color: color("soft") }, ...more,
  });
  const draw = (id, traces, more) =>
    Plotly.react(get(id), traces, layout({ width: get(id).clientWidth, ...more }), { displayModeBar: false, scrollZoom: false });

  const results = [["Pass", "Passed", "pass"], ["Fail", "Failed", "fail"], ["Other", "Other", "other"]];

  const overTime = (account) => {
    const starts = account.periods;
    const gap = starts.length > 1 ? (Date.parse(starts[1]) - Date.parse(starts[0])) / 864e5 : 1;
    const [step, form] = gap > 300 ? ["year", "%Y"] : gap > 8 ? ["month", "%b %Y"] : gap > 1 ? ["week", "week of %d %b %Y"] : ["day", "%d %b %Y"];
    get("step").textContent = starts.length ? `By ${step} of completion, in UTC` : "";
    const traces = results.map(([key, name, shade]) => ({
      type: "bar", name, x: starts, y: account.results[key], marker: { color: color(shade) },
      hovertemplate: "%{y:,}", xhoverformat: form,
    }));
    draw("time", traces, {
      height: 320, hovermode: "x unified", bargap: 0.15,
      xaxis: axis({ type: "date", showgrid: false, nticks: Math.max(4, Math.floor(get("time").clientWidth / 90)) }),
      yaxis: axis({ tickformat: ",d", rangemode: "tozero" }),
    });
  };

  // Courses of one title are told apart here too.
  const label = ({ title, note }, narrow) => {
    if (note === null) return narrow ? wrapped(title, 20) : `${plain(short(title, 34))} `;
    return [title, note].map((text) => `${plain(short(text, narrow ? 20 : 34))} `).join("<br>");
  };

  const bars = (id, courses, traces, xaxis) => {
    get(id).closest("section").hidden = courses.length === 0;
    if (courses.length === 0) return;
    const narrow = get(id).clientWidth < 420;
    draw(id, traces.map((trace) => ({ type: "bar", orientation: "h", y: courses.map((_, n) => n), ...trace })), {
      height: 110 + (narrow ? 34 : 27) * Math.max(courses.length, 3),
      hovermode: "closest",
      xaxis: axis({ rangemode: "tozero", nticks: narrow ? 4 : 7, ...xaxis }),
      yaxis: axis({
        range: [Math.max(courses.length, 3) - 0.5, -0.5], showgrid: false, zeroline: false, ticks: "", tickmode: "array",
        tickvals: courses.map((_, n) => n), ticktext: courses.map((course) => label(course, narrow)),
        tickfont: { color: color("text"), size: narrow ? 11 : 12 },
      }),
    });
  };

  const byCourse = (account) => {
    const top = account.top.filter((course) => course.completions).slice(0, MOST);
    const called = ({ title, note }) => plain(title) + (note === null ? "" : `<br>${plain(note)}`);
    const rest = (course) => course.completions - course.passed - course.failed;
    const values = { Pass: (c) => c.passed, Fail: (c) => c.failed, Other: rest };
    bars("active", top, results.map(([key, name, shade]) => ({
      name, x: top.map(values[key]), marker: { color: color(shade) }, customdata: top.map(called),
      hovertemplate: `%{customdata}<br>${name}: %{x:,}<extra></extra>`,
    })), { tickformat: ",d" });
    const rated = top.filter((course) => share(course) !== null);
    bars("rate", rated, [{
      x: rated.map(share), marker: { color: color("pass") }, text: rated.map((c) => percent(share(c))),
      textposition: "auto", cliponaxis: false, insidetextfont: { color: color("card") },
      customdata: rated.map((c) => [called(c), count.format(c.passed), count.format(c.passed + c.failed)]),
      hovertemplate: "%{customdata[0]}<br>%{customdata[1]} of %{customdata[2]} passed<extra></extra>",
    }], { tickformat: ".0%", range: [0, 1.02], dtick: 0.25 });
    const given = account.top.filter((course) => course.assigned).sort((a, b) => b.assigned - a.assigned).slice(0, MOST);
    bars("completed", given, [{
      x: given.map(rate), marker: { color: color("one") }, text: given.map((c) => percent(rate(c))),
      textposition: "auto", cliponaxis: false, insidetextfont: { color: color("card") },
      customdata: given.map((c) => [called(c), count.format(c.assigned - c.open), count.format(c.assigned), count.format(c.overdue)]),
      hovertemplate: "%{customdata[0]}<br>%{customdata[1]} of %{customdata[2]} completed<br>%{customdata[3]} overdue<extra></extra>",
    }], { tickformat: ".0%", range: [0, 1.02], dtick: 0.25 });
    const timed = top.filter((course) => course.minutes !== null);
    bars("minutes", timed, [{
      x: timed.map((c) => c.minutes), marker: { color: color("one") }, text: timed.map((c) => time(c.minutes)),
      textposition: "auto", insidetextfont: { color: color("card") }, customdata: timed.map(called),
      hovertemplate: "%{customdata}<br>%{text}<extra></extra>",
    }], { title: { text: "minutes", font: { color: color("soft"), size: 12 } } });
  };

  const fill = (id, heads, rows) => {
    const row = (cells, tag) => {
      const made = document.createElement("tr");
      cells.forEach((text) => {
        const cell = document.createElement(tag);
        const [first, below] = [text].flat();
        cell.textContent = first;
        if (below) cell.append(Object.assign(document.createElement("small"), { textContent: below }));
        if (tag === "th") cell.scope = "col";
        made.append(cell);
      });
      return made;
    };
    const head = document.createElement("thead");
    head.append(row(heads, "th"));
    const body = document.createElement("tbody");
    body.append(...rows.map((cells) => row(cells, "td")));
    get(id).replaceChildren(head, body);
  };

  const heads = data.assignments ? ["Assigned", "Open", "Overdue", "Completion rate"] : [];
  const assigned = (part) => (data.assignments
    ? [count.format(part.assigned), count.format(part.open), count.format(part.overdue), percent(rate(part))] : []);

  const figures = (account) => {
    const shown = [
      ["Completions", count.format(account.completions)],
      ["Learners", count.format(account.learners)],
      ["Courses", count.format(account.courses)],
      ["Pass rate", percent(share(account))],
      ["Median time", time(account.minutes)],
      ["Last completion", account.last ?? "–"],
      ...(data.assignments ? [
        ["Assignments", count.format(account.assigned)],
        ["Open", count.format(account.open)],
        ["Overdue", count.format(account.overdue)],
        ["Completion rate", percent(rate(account))],
      ] : []),
    ];
    get("figures").replaceChildren(...shown.map(([name, value]) => {
      const box = document.createElement("div");
      const dt = document.createElement("dt");
      const dd = document.createElement("dd");
      dt.textContent = name;
      dd.textContent = value;
      box.append(dt, dd);
      return box;
    }));
  };

  const lacking = { assignments: "open and overdue ones, and completion rates", courses: "titles of courses" };
  const without = (account) => {
    const of = account === data.accounts[0] ? each.length : 1;
    const told = Object.entries(account.without).map(([list, lack]) => {
      const line = document.createElement("li");
      const whose = lack < of ? ` of ${count.format(lack)} of the ${count.format(of)} accounts` : "";
      line.textContent = `The ${list}${whose} were not exported, so this page does not show ${whose && "their "}${lacking[list]}.`;
      return line;
    });
    get("without").replaceChildren(...told);
    get("without").hidden = told.length === 0;
  };

  const [, ...each] = data.accounts;

  const show = () => {
    const account = data.accounts[Number(get("account").value)];
    const [first, last] = data.span;
    const days = [first && `from ${first}`, last && `to ${last}`].filter(Boolean).join(" ");
    get("about").textContent = [account.as_of && `As of ${moments(account)}`, days && `Days ${days}`].filter(Boolean).join(" · ");
    get("warning").hidden = !account.behind;
    without(account);
    figures(account);
    const some = account.completions + account.assigned > 0;
    get("nothing").hidden = some;
    get("charts").hidden = !some;
    if (!some) return;
    overTime(account);
    byCourse(account);
    const left = account.courses - account.top.length;
    get("courses-note").textContent =
      left > 0 ? `The ${account.top.length} with the most completions, of ${count.format(account.courses)}.` : "";
    fill("courses", ["Course", "Completions", "Passed", "Failed", "Pass rate", "Median time", ...heads], account.top.map((c) => [
      [c.title, c.note], count.format(c.completions), count.format(c.passed), count.format(c.failed), percent(share(c)), time(c.minutes),
      ...assigned(c),
    ]));
  };

  document.querySelectorAll(".key").forEach((key) => key.replaceChildren(...results.map(([, name, shade]) => {
    const entry = document.createElement("span");
    entry.className = shade;
    entry.textContent = name;
    return entry;
  })));
  data.accounts.forEach((account, number) => {
    if (number > 0 && each.length === 1) return;
    get("account").add(new Option(number ? account.name : "All accounts", number));
  });
  get("choice").hidden = each.length < 2;
  get("accounts-section").hidden = each.length < 2;
  fill("accounts", ["Account", "Completions", "Learners", "Pass rate", "Last", ...heads, "As of"], each.map((a) => [
    a.name, count.format(a.completions), count.format(a.learners), percent(share(a)), a.last ?? "–", ...assigned(a),
    moments(a) + (a.behind ? ", failed since" : ""),
  ]));
  get("account").addEventListener("change", show);
  dark.addEventListener("change", show);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) {
      width = innerWidth;
      show();
    }
  });
  // Printed, charts are as wide as the paper, on white.
  const paper = (on) => {
    document.documentElement.classList.toggle("paper", on);
    show();
  };
  addEventListener("beforeprint", () => paper(true));
  addEventListener("afterprint", () => paper(false));
  show();
})();
