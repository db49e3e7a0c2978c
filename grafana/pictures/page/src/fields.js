// Applies a panel's field configuration and transformations to its frames, with Grafana's own processors.
import {
  FieldType,
  fieldMatchers,
  getDisplayProcessor,
  getFieldDisplayName,
  standardTransformers,
  standardTransformersRegistry,
  transformDataFrame,
} from "@grafana/data";
import { lastValueFrom } from "rxjs";

standardTransformersRegistry.setInit(() =>
  [
    standardTransformers.mergeTransformer,
    standardTransformers.filterFieldsByNameTransformer,
    standardTransformers.organizeFieldsTransformer,
  ].map((transformation) => ({
    id: transformation.id,
    name: transformation.name,
    transformation,
    editor: () => null,
  })),
);

const GRAPH_DEFAULTS = {
  drawStyle: "line",
  lineWidth: 1,
  fillOpacity: 0,
  gradientMode: "none",
  showPoints: "auto",
  pointSize: 5,
  axisPlacement: "auto",
  axisBorderShow: false,
  axisGridShow: true,
  scaleDistribution: { type: "linear" },
  hideFrom: { legend: false, tooltip: false, viz: false },
  stacking: { mode: "none" },
  thresholdsStyle: { mode: "off" },
  lineInterpolation: "linear",
  spanNulls: false,
};
const TABLE_DEFAULTS = { align: "auto", cellOptions: { type: "auto" }, inspect: false };

function applied(config, property) {
  const custom = property.id.startsWith("custom.");
  const name = custom ? property.id.slice("custom.".length) : property.id;
  return custom
    ? { ...config, custom: { ...config.custom, [name]: property.value } }
    : { ...config, [name]: property.value };
}

function configured(field, frame, frames, panel, theme) {
  const { defaults, overrides = [] } = panel.fieldConfig;
  const custom = { ...(panel.type === "table" ? TABLE_DEFAULTS : GRAPH_DEFAULTS), ...defaults.custom };
  let config = { ...field.config, ...defaults, custom };
  for (const { matcher, properties } of overrides) {
    const matches = fieldMatchers.get(matcher.id).get(matcher.options);
    if (matches(field, frame, frames)) config = properties.reduce(applied, config);
  }
  const thresholds = config.thresholds && {
    ...config.thresholds,
    steps: config.thresholds.steps.map((step) => ({ ...step, value: step.value ?? -Infinity })),
  };
  const links = config.links;
  const shown = {
    ...field,
    config: { ...config, thresholds, links: undefined },
    state: { ...field.state, displayName: getFieldDisplayName(field, frame, frames) },
    getLinks: () => (links ?? []).map((link) => ({ title: link.title, href: "#", origin: field, target: "_self" })),
  };
  if (links) shown.config.links = links;
  shown.display = getDisplayProcessor({ field: shown, theme, timeZone: "utc" });
  return shown;
}

/** Returns the frames as the panel draws them. */
export async function prepared(panel, frames, theme) {
  const transformed = await lastValueFrom(
    transformDataFrame(panel.transformations ?? [], frames, { interpolate: (text) => text }),
  );
  let series = 0;
  return transformed.map((frame) => ({
    ...frame,
    fields: frame.fields.map((field) => {
      const shown = configured(field, frame, transformed, panel, theme);
      if (field.type === FieldType.number) shown.state.seriesIndex = series++;
      return shown;
    }),
  }));
}
