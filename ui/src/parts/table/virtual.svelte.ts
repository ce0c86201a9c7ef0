// Which rows are in sight. Rows are of one height; what scrolls is an empty element of their height, and the rows
// stand in a window that stays where it is and is drawn anew. So however fast somebody scrolls, old rows are in
// sight until new ones are, never nothing.

import { Virtualizer, defaultRangeExtractor, elementScroll, type VirtualItem } from "@tanstack/virtual-core";

/** Rows drawn beyond both ends of what is in sight. */
const OVERSCAN = 6;
/** Positions count from a multiple of this: with millions of pixels, browsers would round them. */
const ORIGIN_STEP = 200_000;

export interface Shape {
  count: number;
  rowHeight: number;
  headerHeight: number;
  /** A row that stays drawn wherever it is, since it has the focus; or -1. */
  kept: number;
}

export class VirtualRows {
  items = $state.raw<VirtualItem[]>([]);
  offset = $state(0);
  /** Of all that can be seen, header included. */
  height = $state(0);
  readonly origin = $derived(Math.floor(this.offset / ORIGIN_STEP) * ORIGIN_STEP);
  #virtualizer: Virtualizer<HTMLElement, HTMLElement> | null = null;
  #shape: Shape = { count: 0, rowHeight: 1, headerHeight: 0, kept: -1 };

  /** Watches the element that scrolls, until the returned function is called. */
  attach(scroller: HTMLElement): () => void {
    const virtualizer = new Virtualizer<HTMLElement, HTMLElement>({
      ...this.#options(),
      getScrollElement: () => scroller,
      scrollToFn: elementScroll,
      observeElementRect: (_, tell) => {
        const read = () => {
          this.height = scroller.clientHeight;
          tell({ width: scroller.clientWidth, height: this.#rowsHeight() });
        };
        read();
        const observer = new ResizeObserver(read);
        observer.observe(scroller);
        return () => observer.disconnect();
      },
      observeElementOffset: (_, tell) => {
        const read = () => {
          this.offset = scroller.scrollTop;
          tell(scroller.scrollTop, false);
        };
        read();
        scroller.addEventListener("scroll", read, { passive: true });
        return () => scroller.removeEventListener("scroll", read);
      },
      onChange: (changed) => (this.items = changed.getVirtualItems()),
    });
    this.#virtualizer = virtualizer;
    const end = virtualizer._didMount();
    virtualizer._willUpdate();
    this.items = virtualizer.getVirtualItems();
    return () => {
      this.#virtualizer = null;
      end();
    };
  }

  /** Tells how many rows there are and how high they are. */
  reshape(shape: Shape): void {
    const heights = shape.rowHeight !== this.#shape.rowHeight;
    this.#shape = shape;
    const virtualizer = this.#virtualizer;
    if (!virtualizer) return;
    virtualizer.setOptions({ ...virtualizer.options, ...this.#options() });
    if (heights) virtualizer.measure();
    virtualizer._willUpdate();
    this.items = virtualizer.getVirtualItems();
  }

  /** Scrolls no further than it takes to see the row. */
  show(index: number): void {
    this.#virtualizer?.scrollToIndex(index, { align: "auto" });
  }

  /** Rows that fit. */
  get page(): number {
    return Math.max(1, Math.floor(this.#rowsHeight() / this.#shape.rowHeight) - 1);
  }

  #rowsHeight(): number {
    return Math.max(0, this.height - this.#shape.headerHeight);
  }

  #options() {
    const { count, rowHeight, kept } = this.#shape;
    return {
      count,
      overscan: OVERSCAN,
      estimateSize: () => rowHeight,
      rangeExtractor: (range: Parameters<typeof defaultRangeExtractor>[0]) => {
        const indexes = defaultRangeExtractor(range);
        if (kept < 0 || kept >= count || indexes.includes(kept)) return indexes;
        return kept < (indexes[0] ?? 0) ? [kept, ...indexes] : [...indexes, kept];
      },
    };
  }
}
