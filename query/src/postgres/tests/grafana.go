// What Grafana's Postgres data source does on the wire, with the drivers that it is built with: until version 11
// database/sql with lib/pq, since 12 the simple protocol of pgconn, from which it makes values itself.
// Argument 1 is the connection string. Each line of standard input is a list: a name and SQL. Each line of
// standard output is what both made of it: {"name", "columns": [[name, kind]], "rows", "error", "place"}.
package main

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"sort"
	"strconv"
	"time"

	"github.com/jackc/pgconn"
	"github.com/lib/pq"
)

// The types that the data source tells apart. It takes others that the driver knows as text, and fails where the
// driver knows none.
var numbers = map[uint32]string{20: "integer", 21: "integer", 23: "integer", 700: "float", 701: "float", 1700: "float"}
var texts = map[uint32]bool{
	18: true, 19: true, 25: true, 26: true, 114: true, 869: true, 1003: true, 1007: true, 1009: true, 1015: true,
	1016: true, 1042: true, 1043: true, 1186: true, 1022: true, 1231: true, 2950: true, 3802: true, 1028: true,
	705: true, 1002: true, 1005: true, 1014: true, 1185: true,
}

type answer struct {
	Name    string      `json:"name"`
	Columns [][2]string `json:"columns"`
	Rows    [][]any     `json:"rows"`
	Error   string      `json:"error"`
	Place   string      `json:"place"`
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	older, err := sql.Open("postgres", os.Args[1])
	must(err)
	must(older.PingContext(ctx))
	newer, err := pgconn.Connect(ctx, os.Args[1])
	must(err)
	// How a pool of the driver asks whether a connection is alive.
	for _, ping := range []string{"-- ping", ";"} {
		_, err = newer.Exec(ctx, ping).ReadAll()
		must(err)
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var asked [2]string
		must(json.Unmarshal(lines.Bytes(), &asked))
		told := byOlder(ctx, older, asked)
		now := byNewer(ctx, newer, asked)
		if !same(told, now) {
			must(fmt.Errorf("%s: the drivers differ:\n%s\n%s", asked[0], text(told), text(now)))
		}
		fmt.Println(text(now))
	}
	must(lines.Err())
}

func byOlder(ctx context.Context, database *sql.DB, asked [2]string) answer {
	told := answer{Name: asked[0], Rows: [][]any{}}
	rows, err := database.QueryContext(ctx, asked[1])
	if err != nil {
		var refused *pq.Error
		if errors.As(err, &refused) {
			told.Error, told.Place = string(refused.Code)+" "+refused.Message, refused.Position
			return told
		}
		must(err)
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	must(err)
	for _, column := range types {
		kind := map[string]string{
			"INT2": "integer", "INT4": "integer", "INT8": "integer", "FLOAT4": "float", "FLOAT8": "float",
			"NUMERIC": "float", "TIMESTAMPTZ": "time", "TIMESTAMP": "time", "DATE": "time", "BOOL": "bool",
		}[column.DatabaseTypeName()]
		if kind == "" {
			kind = "text"
		}
		told.Columns = append(told.Columns, [2]string{column.Name(), kind})
	}
	for rows.Next() {
		row, places := make([]any, len(types)), make([]any, len(types))
		for at := range row {
			places[at] = &row[at]
		}
		must(rows.Scan(places...))
		for at, value := range row {
			switch value := value.(type) {
			case []byte:
				row[at] = string(value)
				if told.Columns[at][1] == "float" {
					row[at], err = strconv.ParseFloat(string(value), 64)
					must(err)
				}
			case time.Time:
				row[at] = value.UTC().Format(time.RFC3339Nano)
			}
		}
		told.Rows = append(told.Rows, row)
	}
	must(rows.Err())
	return told
}

func byNewer(ctx context.Context, connection *pgconn.PgConn, asked [2]string) answer {
	told := answer{Name: asked[0], Rows: [][]any{}}
	results := connection.Exec(ctx, asked[1])
	defer results.Close()
	if !results.NextResult() {
		var refused *pgconn.PgError
		if err := results.Close(); errors.As(err, &refused) {
			told.Error = refused.Code + " " + refused.Message
			if refused.Position > 0 {
				told.Place = strconv.Itoa(int(refused.Position))
			}
			return told
		} else {
			must(fmt.Errorf("%s: no result: %w", asked[0], err))
		}
	}
	result := results.ResultReader()
	for _, field := range result.FieldDescriptions() {
		kind := numbers[field.DataTypeOID]
		switch {
		case kind != "":
		case field.DataTypeOID == 1184 || field.DataTypeOID == 1114 || field.DataTypeOID == 1082:
			kind = "time"
		case field.DataTypeOID == 16:
			kind = "bool"
		case texts[field.DataTypeOID]:
			kind = "text"
		default:
			must(fmt.Errorf("%s: column %s has type %d, which no driver knows", asked[0], field.Name, field.DataTypeOID))
		}
		if field.Format != 0 {
			must(fmt.Errorf("%s: the simple protocol has text only", asked[0]))
		}
		told.Columns = append(told.Columns, [2]string{string(field.Name), kind})
	}
	for result.NextRow() {
		values := result.Values()
		row := make([]any, len(values))
		for at, value := range values {
			if value == nil {
				continue
			}
			text, err := string(value), error(nil)
			switch told.Columns[at][1] {
			case "integer":
				row[at], err = strconv.ParseInt(text, 10, 64)
			case "float":
				row[at], err = strconv.ParseFloat(text, 64)
			case "bool":
				row[at] = text == "t"
			case "time":
				var parsed time.Time
				parsed, err = time.Parse("2006-01-02 15:04:05.999999999Z07", text)
				row[at] = parsed.UTC().Format(time.RFC3339Nano)
			default:
				row[at] = text
			}
			must(err)
		}
		told.Rows = append(told.Rows, row)
	}
	tag, err := result.Close()
	must(err)
	if !tag.Select() || results.NextResult() {
		must(fmt.Errorf("%s: not one result of rows, but %q", asked[0], tag))
	}
	return told
}

// Without ORDER BY rows come in any order, also of one statement asked twice.
func same(one, other answer) bool {
	rows := func(told answer) []string {
		var texts []string
		for _, row := range told.Rows {
			bytes, err := json.Marshal(row)
			must(err)
			texts = append(texts, string(bytes))
		}
		sort.Strings(texts)
		return texts
	}
	if !reflect.DeepEqual(rows(one), rows(other)) {
		return false
	}
	one.Rows, other.Rows = nil, nil
	return reflect.DeepEqual(one, other)
}

func text(told answer) string {
	bytes, err := json.Marshal(told)
	must(err)
	return string(bytes)
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
