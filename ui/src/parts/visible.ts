// Names are data, and data may hold characters that nobody sees, that break a line or that turn its direction. In a
// list each of them is shown as what it is, so that no name looks like another or like none.

/** Where pictures of control characters begin: that of NUL. */
const PICTURES = 0x2400;
const PICTURE_OF_DELETE = "\u2421";
/** C1 controls, marks and overrides of direction, spaces without width, separators of lines. Joiners are not among
 * them: scripts and emoji need these. */
const UNSEEN = /[\u0080-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

/** The text with what is not seen made visible: `␊`, `⟨U+202E⟩`. */
export function visible(text: string): string {
  return text
    .replace(/[\u0000-\u001f]/g, (control) => String.fromCharCode(PICTURES + control.charCodeAt(0)))
    .replaceAll("\u007f", PICTURE_OF_DELETE)
    .replace(UNSEEN, (unseen) => `⟨U+${unseen.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}
