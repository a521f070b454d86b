package output

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/scopedrift/scopedrift/schema"
)

// Format is a way of writing results.
type Format string

// The formats.
const (
	Text  Format = "text"
	Grid  Format = "table"
	JSON  Format = "json"
	JSONL Format = "jsonl"
	CSV   Format = "csv"
	SARIF Format = "sarif"
	OCSF  Format = "ocsf"
	// DOT and Markdown are for single investigations.
	DOT      Format = "dot"
	Markdown Format = "markdown"
)

// Column is a column of a table.
type Column struct {
	// Name is its heading, in the words of the JSON fields.
	Name string
	// Right aligns numbers.
	Right bool
	// Keep is the width below which the column is never narrowed; 0 means it
	// is never narrowed at all.
	Keep int
	// Spare says when the column is left out of a table that does not fit at
	// its narrowest: 1 goes first; 0 means never.
	Spare int
}

// Table is rows under columns. Cells are observed strings: Table makes them
// safe.
type Table struct {
	Columns []Column
	Rows    [][]string
}

// Add appends a row.
func (t *Table) Add(cells ...string) { t.Rows = append(t.Rows, cells) }

// Print writes the table with aligned columns, at most width columns wide where
// width is not 0 and the columns that may be narrowed or spared allow it. What
// was left out is said below.
func (t *Table) Print(w io.Writer, width int, paint Paint) error {
	t, spared := t.without(width)
	widths := make([]int, len(t.Columns))
	for i, c := range t.Columns {
		widths[i] = Width(c.Name)
	}
	rows := make([][]string, len(t.Rows))
	for n, row := range t.Rows {
		rows[n] = make([]string, len(t.Columns))
		for i := range t.Columns {
			if i < len(row) {
				rows[n][i] = Safe(row[i])
			}
			widths[i] = max(widths[i], Width(rows[n][i]))
		}
	}
	t.narrow(widths, width)
	out := bufio.NewWriter(w)
	heads := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		heads[i] = strings.ToUpper(strings.ReplaceAll(c.Name, "_", " "))
	}
	t.line(out, heads, widths, paint.Strong)
	for _, row := range rows {
		t.line(out, row, widths, paint.Word)
	}
	if len(spared) > 0 {
		for _, line := range wrap("(no room for "+strings.Join(spared, ", ")+": a wider terminal or a pipe shows all)", width) {
			out.WriteString(line + "\n")
		}
	}
	return out.Flush()
}

// without leaves out columns, those that are spared first, until the narrowest
// form of the rest fits, and returns their names.
func (t *Table) without(limit int) (*Table, []string) {
	if limit <= 0 {
		return t, nil
	}
	least, total := make([]int, len(t.Columns)), -2
	for i, c := range t.Columns {
		least[i] = Width(c.Name)
		for _, row := range t.Rows {
			if i < len(row) {
				least[i] = max(least[i], Width(Safe(row[i])))
			}
		}
		if c.Keep > 0 {
			least[i] = min(least[i], c.Keep)
		}
		total += least[i] + 2
	}
	out := map[int]bool{}
	var names []string
	for spare := 1; spare <= len(t.Columns) && total > limit; spare++ {
		for i, c := range t.Columns {
			if c.Spare == spare {
				out[i] = true
				total -= least[i] + 2
				names = append(names, strings.ReplaceAll(c.Name, "_", " "))
			}
		}
	}
	if len(out) == 0 {
		return t, nil
	}
	rest := &Table{}
	for i, c := range t.Columns {
		if !out[i] {
			rest.Columns = append(rest.Columns, c)
		}
	}
	for _, row := range t.Rows {
		var cells []string
		for i, cell := range row {
			if !out[i] {
				cells = append(cells, cell)
			}
		}
		rest.Rows = append(rest.Rows, cells)
	}
	return rest, names
}

// narrow takes columns away from the widest narrowable one until the table fits.
func (t *Table) narrow(widths []int, limit int) {
	if limit <= 0 {
		return
	}
	total := 2 * (len(widths) - 1)
	for _, w := range widths {
		total += w
	}
	for total > limit {
		widest := -1
		for i, c := range t.Columns {
			if c.Keep > 0 && widths[i] > c.Keep && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		widths[widest]--
		total--
	}
}

func (t *Table) line(out *bufio.Writer, cells []string, widths []int, style func(string) string) {
	for i, cell := range cells {
		cell = Clip(cell, widths[i])
		pad := strings.Repeat(" ", max(0, widths[i]-Width(cell)))
		if i > 0 {
			out.WriteString("  ")
		}
		switch {
		case t.Columns[i].Right:
			out.WriteString(pad + style(cell))
		case i == len(cells)-1:
			out.WriteString(style(cell))
		default:
			out.WriteString(style(cell) + pad)
		}
	}
	out.WriteByte('\n')
}

// CSV writes the table as comma-separated values with a heading line.
func (t *Table) CSV(w io.Writer) error {
	out := csv.NewWriter(w)
	heads := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		heads[i] = c.Name
	}
	if err := out.Write(heads); err != nil {
		return err
	}
	cells := make([]string, len(t.Columns))
	for _, row := range t.Rows {
		clear(cells)
		for i := range row {
			cells[i] = Cell(row[i])
		}
		if err := out.Write(cells); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// Document writes one JSON document, indented, ending in a line end.
func Document(w io.Writer, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("write json: %w", err)
	}
	_, err = w.Write(append(safeJSON(data), '\n'))
	return err
}

// Line writes one JSON value on a line of its own.
func Line(w io.Writer, value any) error {
	var data []byte
	var err error
	if call, is := value.(*schema.Call); is {
		data, err = call.MarshalJSON() // as Marshal would, which reads and copies that again
	} else {
		data, err = json.Marshal(value)
	}
	if err != nil {
		return fmt.Errorf("write json line: %w", err)
	}
	_, err = w.Write(append(safeJSON(data), '\n'))
	return err
}
