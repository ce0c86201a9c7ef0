//! Unified diffs, as `patch` and `git apply` take them.

/// Lines of context around a change.
const CONTEXT: usize = 3;
/// Most comparisons of lines; texts that differ in more are shown as wholly replaced.
const MAX_CELLS: usize = 4_000_000;

/// The diff from one text of a file to another; empty if they are equal. An empty `before` makes
/// the file.
pub(super) fn unified(path: &str, before: &str, after: &str) -> String {
    let old: Vec<&str> = before.split_inclusive('\n').collect();
    let new: Vec<&str> = after.split_inclusive('\n').collect();
    let changes = changes(&old, &new);
    if changes.iter().all(|change| matches!(change, Line::Same(..))) {
        return String::new();
    }
    let path = path.trim_start_matches("./").trim_start_matches('/');
    let mut text = match before.is_empty() {
        true => format!("--- /dev/null\n+++ b/{path}\n"),
        false => format!("--- a/{path}\n+++ b/{path}\n"),
    };
    let mut start = 0;
    while let Some(first) = changes[start..].iter().position(Line::is_change) {
        let first = start + first;
        // A hunk goes on while changes are near enough to share context.
        let mut last = first;
        while let Some(next) = changes[last + 1..].iter().position(Line::is_change) {
            if next > 2 * CONTEXT {
                break;
            }
            last += next + 1;
        }
        let from = first.saturating_sub(CONTEXT).max(start);
        let to = (last + 1 + CONTEXT).min(changes.len());
        hunk(&changes[..from], &changes[from..to], &old, &new, &mut text);
        start = to;
    }
    text
}

/// Index of a line in the old text, the new one, or both.
#[derive(Clone, Copy)]
enum Line {
    Same(usize),
    Old(usize),
    New(usize),
}

impl Line {
    fn is_change(&self) -> bool {
        !matches!(self, Self::Same(..))
    }
}

fn hunk(before: &[Line], lines: &[Line], old: &[&str], new: &[&str], text: &mut String) {
    let count = |lines: &[Line], is_old: bool| {
        lines
            .iter()
            .filter(|line| match line {
                Line::Same(..) => true,
                Line::Old(_) => is_old,
                Line::New(_) => !is_old,
            })
            .count()
    };
    let range = |is_old: bool| {
        let (start, length) = (count(before, is_old), count(lines, is_old));
        // An empty range names the line before it.
        format!("{},{length}", if length == 0 { start } else { start + 1 })
    };
    text.push_str(&format!("@@ -{} +{} @@\n", range(true), range(false)));
    for line in lines {
        let (mark, line) = match *line {
            Line::Same(index) => (' ', old[index]),
            Line::Old(index) => ('-', old[index]),
            Line::New(index) => ('+', new[index]),
        };
        text.push(mark);
        text.push_str(line);
        if !line.ends_with('\n') {
            text.push_str("\n\\ No newline at end of file\n");
        }
    }
}

/// All lines in order, by the longest common subsequence of what is not equal at both ends.
fn changes(old: &[&str], new: &[&str]) -> Vec<Line> {
    let same = |left: &&str, right: &&str| left == right;
    let head = old.iter().zip(new).take_while(|(left, right)| same(left, right)).count();
    let shorter = old.len().min(new.len());
    let tail = old.iter().rev().zip(new.iter().rev()).take(shorter - head);
    let tail = tail.take_while(|(left, right)| same(left, right)).count();
    let (old_middle, new_middle) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let mut lines: Vec<Line> = (0..head).map(Line::Same).collect();
    let (rows, columns) = (old_middle.len(), new_middle.len());
    if (rows + 1).saturating_mul(columns + 1) > MAX_CELLS {
        lines.extend((head..head + rows).map(Line::Old));
        lines.extend((head..head + columns).map(Line::New));
    } else {
        // Length of the common subsequence of what follows.
        let mut lengths = vec![vec![0_u32; columns + 1]; rows + 1];
        for row in (0..rows).rev() {
            for column in (0..columns).rev() {
                lengths[row][column] = if old_middle[row] == new_middle[column] {
                    lengths[row + 1][column + 1] + 1
                } else {
                    lengths[row + 1][column].max(lengths[row][column + 1])
                };
            }
        }
        let (mut row, mut column) = (0, 0);
        while row < rows || column < columns {
            if row < rows && column < columns && old_middle[row] == new_middle[column] {
                lines.push(Line::Same(head + row));
                (row, column) = (row + 1, column + 1);
            } else if column == columns
                || row < rows && lengths[row + 1][column] >= lengths[row][column + 1]
            {
                lines.push(Line::Old(head + row));
                row += 1;
            } else {
                lines.push(Line::New(head + column));
                column += 1;
            }
        }
    }
    lines.extend((old.len() - tail..old.len()).map(Line::Same));
    lines
}
