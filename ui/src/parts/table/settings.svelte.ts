// How somebody likes a grid: widths of columns and height of rows, kept in the browser.

import { keep, recall } from "../../state/preferences.svelte";
import { widthsOf, type Widths } from "./columns";

export const DENSITIES = { compact: 28, comfortable: 36 } as const;
export type Density = keyof typeof DENSITIES;

export class GridSettings {
  widths = $state.raw<Widths>({});
  density = $state<Density>("compact");

  /** @param name Under which they are kept. */
  constructor(private readonly name: string) {
    this.widths = widthsOf(recall(`${name}.widths`));
    this.density = recall("density") === "comfortable" ? "comfortable" : "compact";
  }

  get rowHeight(): number {
    return DENSITIES[this.density];
  }

  /** Without a width, a column has its own again. */
  resize(column: string, width: number | undefined): void {
    const { [column]: _, ...others } = this.widths;
    this.widths = width === undefined ? others : { ...others, [column]: Math.round(width) };
    keep(`${this.name}.widths`, JSON.stringify(this.widths));
  }

  resetWidths(): void {
    this.widths = {};
    keep(`${this.name}.widths`, "{}");
  }

  setDensity(density: Density): void {
    this.density = density;
    keep("density", density);
  }
}
