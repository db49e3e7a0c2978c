// Does the work of Grafana's Prometheus data source: fills in variables, sends queries, returns data frames.
import { FieldType, toDataFrame } from "@grafana/data";
import { END, START, parameters } from "./clock.js";

const PROMETHEUS = parameters.get("prometheus");
const SCRAPE = 15;

function fill(text, step) {
  const variables = {
    cluster: parameters.get("cluster") ?? ".*",
    job: ".+",
    instance: ".+",
    node: parameters.get("node") ?? ".+",
    __range: `${(END - START) / 1000}s`,
    __interval: `${step}s`,
    __rate_interval: `${Math.max(step + SCRAPE, 4 * SCRAPE)}s`,
  };
  return text.replaceAll(/\$\{?(\w+)\}?/g, (whole, name) => variables[name] ?? parameters.get(name) ?? whole);
}

async function ask(path, values) {
  const reply = await fetch(`${PROMETHEUS}/api/v1/${path}?${new URLSearchParams(values)}`);
  const { data, error } = await reply.json();
  if (error) throw new Error(`${values.query}: ${error}`);
  return data.result;
}

// As Grafana's data source does in its server: the text of a label that a series does not have is empty.
function legendOf(format, labels) {
  return (format ?? "").replaceAll(/\{\{\s*(\w+)\s*\}\}/g, (_, name) => labels[name] ?? "").trim();
}

function labelled(metric, legend) {
  const { __name__, ...labels } = metric;
  return { labels, displayNameFromDS: legendOf(legend, labels) };
}

function overTime(result, target, step) {
  return result.map(({ metric, values }) => {
    const { labels, displayNameFromDS } = labelled(metric, target.legendFormat);
    const known = new Map(values.map(([at, value]) => [at * 1000, Number(value)]));
    const times = [];
    for (let at = START; at <= END; at += step * 1000) times.push(at);
    return toDataFrame({
      refId: target.refId,
      fields: [
        { name: "Time", type: FieldType.time, values: times, config: { interval: step * 1000 } },
        {
          name: "Value",
          type: FieldType.number,
          values: times.map((at) => known.get(at) ?? null),
          labels,
          config: { displayNameFromDS },
        },
      ],
    });
  });
}

function atOnce(result, target) {
  return result.map(({ metric, value: [at, value] }) => {
    const { labels, displayNameFromDS } = labelled(metric, target.legendFormat);
    return toDataFrame({
      refId: target.refId,
      fields: [
        { name: "Time", type: FieldType.time, values: [at * 1000] },
        { name: "Value", type: FieldType.number, values: [Number(value)], labels, config: { displayNameFromDS } },
      ],
    });
  });
}

function asTable(result, target, alone) {
  if (!result.length) return [];
  const names = [...new Set(result.flatMap(({ metric }) => Object.keys(metric)))].filter((name) => name !== "__name__");
  return [
    toDataFrame({
      refId: target.refId,
      fields: [
        { name: "Time", type: FieldType.time, values: result.map(({ value }) => value[0] * 1000) },
        ...names.sort().map((name) => ({
          name,
          type: FieldType.string,
          values: result.map(({ metric }) => metric[name] ?? ""),
        })),
        {
          name: alone ? "Value" : `Value #${target.refId}`,
          type: FieldType.number,
          values: result.map(({ value }) => Number(value[1])),
        },
      ],
    }),
  ];
}

/** Returns the frames of all targets of a panel. A graph gets at most one point for each pixel and each scrape. */
export async function framesOf(panel, width) {
  const points = panel.maxDataPoints ?? width;
  const step = Math.max(SCRAPE, Math.ceil((END - START) / 1000 / points / SCRAPE) * SCRAPE);
  const answers = panel.targets.map(async (target) => {
    const query = fill(target.expr, step);
    if (target.instant) {
      const result = await ask("query", { query, time: END / 1000 });
      return target.format === "table"
        ? asTable(result, target, panel.targets.length === 1)
        : atOnce(result, target);
    }
    const range = { query, start: START / 1000, end: END / 1000, step };
    return overTime(await ask("query_range", range), target, step);
  });
  return (await Promise.all(answers)).flat();
}

/** Returns the times at which annotations begin, as {time, name, color}. */
export async function annotationsOf(dashboard) {
  const marks = await Promise.all(
    dashboard.annotations.list.map(async (annotation) => {
      const range = { query: fill(annotation.expr, SCRAPE), start: START / 1000, end: END / 1000, step: SCRAPE };
      const series = await ask("query_range", range);
      return series.flatMap(({ metric, values }) =>
        values
          .filter(([at], index) => index === 0 || at - values[index - 1][0] > SCRAPE)
          .map(([at]) => ({
            time: at * 1000,
            color: annotation.iconColor,
            text: legendOf(annotation.titleFormat, metric),
          })),
      );
    }),
  );
  return marks.flat();
}
