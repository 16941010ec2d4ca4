package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// print shows an answer of the registry: one of a kind, or a list.
func (a *asker) print(w io.Writer, kind string, answer map[string]json.RawMessage) error {
	entities, list := answer[kind+"s"]
	if !list {
		entities = answer[kind]
	}
	if a.output == "json" {
		var pretty any
		if err := json.Unmarshal(entities, &pretty); err != nil {
			return fmt.Errorf("reading the registry's answer: %w", err)
		}
		out := json.NewEncoder(w)
		out.SetIndent("", "  ")
		return out.Encode(pretty)
	}
	if !list {
		entities = slices.Concat([]byte("["), entities, []byte("]"))
	}
	return printTable(w, kind, entities)
}

// columns are what a table shows of each kind.
var columns = map[string][]string{
	"node":       {"id", "status", "availabilityZone", "region", "cordoned", "url"},
	"definition": {"id", "image", "repository", "scheme"},
	"deployment": {"id", "definitionId", "replicas", "status", "details"},
	"instance":   {"id", "slug", "url", "role", "status", "details"},
	"build":      {"definitionId", "nodeId", "status", "image", "details"},
}

func printTable(w io.Writer, kind string, entities []byte) error {
	var rows []map[string]any
	if err := json.Unmarshal(entities, &rows); err != nil {
		return fmt.Errorf("reading the registry's answer: %w", err)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, strings.ToUpper(strings.Join(columns[kind], "\t")))
	for _, row := range rows {
		var cells []string
		for _, name := range columns[kind] {
			cells = append(cells, cell(row[name]))
		}
		fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
	return table.Flush()
}

// cell spells a value: of an image its name, of a repository its URL.
func cell(v any) string {
	switch v := v.(type) {
	case nil:
		return "-"
	case map[string]any:
		for _, name := range []string{"name", "url"} {
			if text, ok := v[name].(string); ok {
				return text
			}
		}
	}
	return fmt.Sprint(v)
}
