// SPDX-License-Identifier: Apache-2.0
// What Grafana's published types say of the parts that the dashboard is made of, as JSON has them. A
// panel's options and its fields' own settings are any to Panel, and queries are any data source's:
// here they are those of the panel's type, and Prometheus's.
import type {GraphFieldConfig} from "@grafana/grafana-foundation-sdk/common";
import type * as dashboard from "@grafana/grafana-foundation-sdk/dashboard";
import type {Dataquery} from "@grafana/grafana-foundation-sdk/prometheus";
import type {Options as Stat} from "@grafana/grafana-foundation-sdk/stat";
import type {Options as Timeseries} from "@grafana/grafana-foundation-sdk/timeseries";

// In JSON a member of an enumeration is its value.
type Json<T> = T extends string ? `${T}` : T extends number | boolean | null | undefined ? T
    : T extends (infer E)[] ? Json<E>[] : T extends object ? {[K in keyof T]: Json<T[K]>} : T;

type Plain<P, O, F> = Json<Omit<P, "options" | "targets" | "fieldConfig"> & {
    options?: Partial<O>;
    targets?: Omit<Dataquery, "_implementsDataqueryVariant">[];
    fieldConfig?: {
        defaults: Omit<dashboard.FieldConfig, "custom"> & {custom?: Partial<F>};
        overrides: dashboard.FieldConfigSource["overrides"];
    };
}>;

export type Dashboard = Json<Omit<dashboard.Dashboard, "panels">>;
export type Panels = {
    row: Json<dashboard.RowPanel>;
    stat: Plain<dashboard.Panel, Stat, never> & {type: "stat"};
    timeseries: Plain<dashboard.Panel, Timeseries, GraphFieldConfig> & {type: "timeseries"};
};
