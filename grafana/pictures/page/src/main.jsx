// Draws one written dashboard as Grafana would. The page's address names the Prometheus to query.
import { parameters, END, START } from "./clock.js";
import "@fontsource/inter/400.css";
import "@fontsource/inter/500.css";
import { EventBusSrv, ThemeContext, createTheme, dateTime, getFieldDisplayValues } from "@grafana/data";
import { BigValue, GlobalStyles, PanelChrome, PanelContextProvider, Table, TimeSeries } from "@grafana/ui";
import { useLayoutEffect } from "react";
import { createRoot } from "react-dom/client";
import { Bands } from "./bands.jsx";
import { prepared } from "./fields.js";
import { annotationsOf, framesOf } from "./queries.js";

const CELL = 30;
const GAP = 8;
const MARGIN = 16;
const WIDTH = innerWidth - 2 * MARGIN;
const theme = createTheme({ colors: { mode: "dark" } });
const timeRange = { from: dateTime(START), to: dateTime(END), raw: { from: "now-1h", to: "now" } };

function place({ x, y, w, h }) {
  const column = (WIDTH + GAP) / 24;
  return {
    left: MARGIN + x * column,
    top: y * (CELL + GAP),
    width: w * column - GAP,
    height: h * (CELL + GAP) - GAP,
  };
}

// Grafana does not publish the plugin that marks annotations. This draws the same dashed lines and flags.
function Marks({ config, marks }) {
  useLayoutEffect(() => {
    config.addHook("draw", (plot) => {
      const { ctx, bbox } = plot;
      for (const { time, color } of marks) {
        const at = Math.round(plot.valToPos(time, "x", true));
        ctx.save();
        ctx.strokeStyle = ctx.fillStyle = color;
        ctx.setLineDash([5 * devicePixelRatio, 5 * devicePixelRatio]);
        ctx.lineWidth = devicePixelRatio;
        ctx.beginPath();
        ctx.moveTo(at, bbox.top);
        ctx.lineTo(at, bbox.top + bbox.height);
        ctx.stroke();
        const size = 5 * devicePixelRatio;
        ctx.beginPath();
        ctx.moveTo(at, bbox.top + bbox.height);
        ctx.lineTo(at - size, bbox.top + bbox.height + size);
        ctx.lineTo(at + size, bbox.top + bbox.height + size);
        ctx.fill();
        ctx.restore();
      }
    });
  }, [config]);
  return null;
}

function Content({ panel, frames, marks, width, height }) {
  if (panel.type === "stat") {
    const values = getFieldDisplayValues({
      fieldConfig: { defaults: { noValue: panel.fieldConfig.defaults.noValue }, overrides: [] },
      reduceOptions: panel.options.reduceOptions,
      replaceVariables: (text) => text,
      theme,
      data: frames,
      timeZone: "utc",
    });
    return values.map(({ display }, index) => (
      <BigValue
        key={index}
        theme={theme}
        value={display}
        width={width}
        height={height / values.length}
        count={values.length}
        colorMode={panel.options.colorMode}
        graphMode={panel.options.graphMode}
        textMode={panel.options.textMode}
        justifyMode={panel.options.justifyMode}
        text={panel.options.text}
        disableWideLayout={!panel.options.wideLayout}
      />
    ));
  }
  if (!frames.length || frames.every((frame) => !frame.length)) {
    const style = { height, display: "flex", alignItems: "center", justifyContent: "center" };
    return <div style={{ ...style, color: theme.colors.text.secondary }}>{panel.fieldConfig.defaults.noValue}</div>;
  }
  if (panel.type === "table") {
    return (
      <Table
        data={frames[0]}
        width={width}
        height={height}
        noHeader={!panel.options.showHeader}
        initialSortBy={panel.options.sortBy}
        enablePagination={panel.options.footer.enablePagination}
        cellHeight={panel.options.cellHeight}
        timeRange={timeRange}
      />
    );
  }
  if (panel.type === "state-timeline") {
    return <Bands frames={frames} width={width} height={height} />;
  }
  return (
    <TimeSeries
      frames={frames}
      structureRev={1}
      timeRange={timeRange}
      timeZone="utc"
      width={width}
      height={height}
      legend={panel.options.legend}
      options={panel.options}
    >
      {(config) => <Marks config={config} marks={marks} />}
    </TimeSeries>
  );
}

function Panel({ panel, frames, marks }) {
  const { width, height, ...corner } = place(panel.gridPos);
  if (panel.type === "row") {
    const style = { position: "absolute", ...corner, color: theme.colors.text.primary };
    return <div style={{ ...style, padding: "4px 8px", fontSize: 16, fontWeight: 500 }}>⌄ {panel.title}</div>;
  }
  return (
    <div style={{ position: "absolute", ...corner }}>
      <PanelChrome title={panel.title} width={width} height={height} padding={panel.type === "stat" ? "none" : "md"}>
        {(innerWidth, innerHeight) => (
          <Content panel={panel} frames={frames} marks={marks} width={innerWidth} height={innerHeight} />
        )}
      </PanelChrome>
    </div>
  );
}

function Head({ dashboard }) {
  const chip = {
    border: `1px solid ${theme.colors.border.medium}`,
    borderRadius: 2,
    padding: "4px 8px",
    background: theme.colors.background.primary,
  };
  const shown = dashboard.templating.list.filter(({ name }) => name !== "exporter");
  const variables = shown.map((variable) => {
    const chosen = variable.name === "exporter" ? variable.query : parameters.get(variable.name);
    return (
      <span key={variable.name} style={chip}>
        <b style={{ fontWeight: 500 }}>{variable.label}</b>{" "}
        <span style={{ color: theme.colors.text.secondary }}>{chosen ?? (variable.type === "datasource" ? "Prometheus" : "All")}</span>
      </span>
    );
  });
  // Grafana has a switch for each annotation here, with its colour.
  const annotations = dashboard.annotations.list.map(({ name, iconColor }) => (
    <span key={name} style={{ fontSize: 11 }}>
      <span style={{ color: iconColor }}>▲</span> {name}
    </span>
  ));
  return (
    <div style={{ height: 52, display: "flex", gap: 8, alignItems: "center", padding: `0 ${MARGIN}px`, whiteSpace: "nowrap" }}>
      <span style={{ fontSize: 18, fontWeight: 500, marginRight: 8 }}>{dashboard.title}</span>
      {variables}
      {annotations}
      <span style={{ ...chip, marginLeft: "auto" }}>Last 1 hour</span>
    </div>
  );
}

function Page({ dashboard, panels, marks }) {
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <PanelContextProvider value={{ eventsScope: "page", eventBus: new EventBusSrv(), sync: () => 0 }}>
        <Head dashboard={dashboard} />
        <div style={{ position: "relative" }}>
          {panels.map(({ panel, frames }) => (
            <Panel key={panel.id} panel={panel} frames={frames} marks={marks} />
          ))}
        </div>
      </PanelContextProvider>
    </ThemeContext.Provider>
  );
}

const dashboard = await (await fetch(parameters.get("dashboard"))).json();
const panels = await Promise.all(
  dashboard.panels.map(async (panel) => {
    if (panel.type === "row") return { panel };
    const frames = await framesOf(panel, place(panel.gridPos).width);
    return { panel, frames: await prepared(panel, frames, theme) };
  }),
);
const marks = await annotationsOf(dashboard);
createRoot(document.getElementById("root")).render(<Page dashboard={dashboard} panels={panels} marks={marks} />);
await document.fonts.ready;
requestAnimationFrame(() => requestAnimationFrame(() => (document.title = "drawn")));
