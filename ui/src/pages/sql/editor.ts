// The editor. It is in a shadow root, where its styles are a sheet of the document's own making and no element: the
// page's content security policy allows no `<style>`.

import { autocompletion, closeBrackets, closeCompletion, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { PostgreSQL, sql, type SQLNamespace } from "@codemirror/lang-sql";
import { HighlightStyle, bracketMatching, syntaxHighlighting } from "@codemirror/language";
import { setDiagnostics } from "@codemirror/lint";
import { Compartment, EditorState, Prec } from "@codemirror/state";
import { EditorView, drawSelection, keymap, lineNumbers, placeholder } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { complete, type Table } from "./completion";
import type { Range } from "./places";

export interface SqlEditor {
  text: () => string;
  setText: (text: string) => void;
  setTables: (tables: readonly Table[]) => void;
  /** Underlines what is wrong; nothing takes the line away. */
  mark: (place: Range | undefined, message: string) => void;
  insert: (text: string) => void;
  focus: () => void;
  destroy: () => void;
}

interface Events {
  changed: (text: string) => void;
  run: () => void;
}

const look = EditorView.theme({
  "&": { height: "100%", fontSize: "13px", color: "var(--text)", backgroundColor: "var(--surface)" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.5" },
  ".cm-content": { caretColor: "var(--text)", padding: "8px 0" },
  ".cm-cursor": { borderLeftColor: "var(--text)" },
  ".cm-gutters": { color: "var(--muted)", backgroundColor: "var(--surface)", border: "none" },
  ".cm-placeholder": { color: "var(--muted)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    backgroundColor: "color-mix(in srgb, var(--focus) 28%, transparent)",
  },
  "&.cm-focused .cm-matchingBracket": { backgroundColor: "var(--raised)", outline: "1px solid var(--line)" },
  ".cm-lintRange-error": {
    backgroundImage: "none",
    textDecoration: "underline wavy var(--deny)",
    textUnderlineOffset: "3px",
  },
  ".cm-tooltip": {
    color: "var(--text)",
    backgroundColor: "var(--surface)",
    border: "1px solid var(--line)",
    borderRadius: "var(--radius)",
    boxShadow: "0 4px 16px rgb(0 0 0 / 0.25)",
  },
  ".cm-tooltip.cm-tooltip-autocomplete > ul": { fontFamily: "var(--mono)", fontSize: "12.5px" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li": { padding: "2px 8px" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li[aria-selected]": {
    color: "var(--on-accent)",
    backgroundColor: "var(--accent)",
  },
  ".cm-completionDetail": { fontStyle: "normal", opacity: "0.75" },
  ".cm-tooltip.cm-completionInfo": { maxWidth: "24rem", padding: "6px 10px" },
  ".cm-diagnostic": { borderLeftColor: "var(--deny)" },
});

const colours = HighlightStyle.define([
  { tag: tags.keyword, color: "var(--accent)", fontWeight: "600" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--allow)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--audit)" },
  { tag: tags.comment, color: "var(--muted)", fontStyle: "italic" },
]);

/** Puts an editor into an element. */
export function sqlEditor(host: HTMLElement, text: string, { changed, run }: Events): SqlEditor {
  const root = host.shadowRoot ?? host.attachShadow({ mode: "open" });
  const language = new Compartment();
  let marked = false;
  const state = EditorState.create({
    doc: text,
    extensions: [
      Prec.highest(
        keymap.of(
          ["Mod-Enter", "Ctrl-Enter"].map((key) => ({
            key,
            run: (view) => (closeCompletion(view), run(), true),
            preventDefault: true,
          })),
        ),
      ),
      lineNumbers(),
      history(),
      drawSelection(),
      bracketMatching(),
      closeBrackets(),
      autocompletion({ icons: false }),
      keymap.of([...completionKeymap, ...historyKeymap, ...defaultKeymap]),
      syntaxHighlighting(colours),
      look,
      language.of(languageWith([])),
      placeholder("select …"),
      EditorView.lineWrapping,
      EditorView.contentAttributes.of({ "aria-label": "SQL statement", spellcheck: "false" }),
      EditorView.updateListener.of((update) => {
        if (update.docChanged) changed(update.state.doc.toString());
      }),
    ],
  });
  const view = new EditorView({ state, parent: root, root });

  return {
    text: () => view.state.doc.toString(),
    setText(next) {
      if (next === view.state.doc.toString()) return;
      view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: next } });
    },
    setTables(tables) {
      view.dispatch({ effects: language.reconfigure(languageWith(tables)) });
    },
    mark(place, message) {
      if (!place && !marked) return;
      const diagnostics = place ? [{ ...place, severity: "error" as const, message }] : [];
      marked = place !== undefined;
      view.dispatch(setDiagnostics(view.state, diagnostics));
    },
    insert(words) {
      view.dispatch(view.state.replaceSelection(words));
      view.focus();
    },
    focus: () => view.focus(),
    destroy: () => view.destroy(),
  };
}

function languageWith(tables: readonly Table[]) {
  const schema: SQLNamespace = Object.fromEntries(
    tables.map(({ name, doc, columns }) => [
      name,
      {
        self: { label: name, type: "type", detail: "table", info: doc },
        children: columns.map((column) => ({
          label: column.name,
          type: "property",
          detail: column.type,
          info: column.doc,
        })),
      },
    ]),
  );
  return [
    sql({ dialect: PostgreSQL, schema }),
    PostgreSQL.language.data.of({ autocomplete: complete(tables) }),
  ];
}
