// Grafana's own types, combined as Grafana combines them when it reads a classic dashboard: the general Panel type
// leaves options and custom fields open, and the types of each panel plugin define them. check.mjs replaces VERSION.
import type * as grafana from "./node_modules/@grafana/schema-VERSION/dist/esm/raw/dashboard/x/dashboard_types.gen";
import type { PrometheusDataQuery } from "./node_modules/@grafana/schema-10.4/dist/esm/raw/composable/prometheus/dataquery/x/PrometheusDataQuery_types.gen";
import type * as stat from "./node_modules/@grafana/schema-VERSION/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type * as table from "./node_modules/@grafana/schema-VERSION/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type * as timeline from "./node_modules/@grafana/schema-VERSION/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen";
import type * as timeseries from "./node_modules/@grafana/schema-VERSION/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

// A missing field has Grafana's default.
type Field<Custom> = Omit<grafana.FieldConfig, "custom"> & { custom?: Partial<Custom> };
type Typed<Type extends string, Options, Custom> = Omit<
  grafana.Panel,
  "type" | "options" | "fieldConfig" | "targets"
> & {
  type: Type;
  options: Partial<Options>;
  targets: PrometheusDataQuery[];
  fieldConfig: Omit<grafana.FieldConfigSource, "defaults"> & { defaults: Field<Custom> };
};

type Panel =
  | Typed<"stat", stat.Options, {}>
  | Typed<"table", table.Options, table.FieldConfig>
  | Typed<"state-timeline", timeline.Options, timeline.FieldConfig>
  | Typed<"timeseries", timeseries.Options, timeseries.FieldConfig>;

// The fields of an annotation that Grafana's Prometheus data source reads.
type Annotation = grafana.AnnotationQuery & {
  expr: string;
  step: string;
  titleFormat: string;
  textFormat: string;
  useValueForTime: boolean;
};

export type ClassicDashboard = Omit<grafana.Dashboard, "panels" | "annotations"> & {
  panels: (Panel | grafana.RowPanel)[];
  annotations: { list: Annotation[] };
};
