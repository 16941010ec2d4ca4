package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// print shows an answer of the registry: one of a kind, or a list.
func (a *asker) print(w io.Writer, kind string, answer map[string]json.RawMessage) error {
	var rows []map[string]any
	var err error
	if entities, list := answer[kind+"s"]; list {
		err = json.Unmarshal(entities, &rows)
	} else {
		rows = make([]map[string]any, 1)
		err = json.Unmarshal(answer[kind], &rows[0])
	}
	if err != nil {
		return fmt.Errorf("reading the registry's answer: %w", err)
	}
	var value any = rows
	if _, list := answer[kind+"s"]; !list {
		value = rows[0]
	}
	return show(w, a.output, value, func(w io.Writer) { registryTable(w, kind, rows) })
}

// columns are what a table shows of each kind.
var columns = map[string][]string{
	"node":       {"id", "status", "availabilityZone", "region", "cordoned", "url"},
	"definition": {"id", "image", "repository", "scheme"},
	"deployment": {"id", "definitionId", "replicas", "status", "details"},
	"instance":   {"id", "slug", "url", "role", "status", "details"},
	"build":      {"definitionId", "nodeId", "status", "image", "details"},
}

func registryTable(w io.Writer, kind string, rows []map[string]any) {
	var header []any
	for _, name := range columns[kind] {
		header = append(header, strings.ToUpper(name))
	}
	row(w, header...)
	for _, r := range rows {
		var cells []any
		for _, name := range columns[kind] {
			cells = append(cells, cell(r[name]))
		}
		row(w, cells...)
	}
}

// cell spells a value: of an image its name, of a repository its URL.
func cell(v any) any {
	switch v := v.(type) {
	case nil:
		return ""
	case map[string]any:
		for _, name := range []string{"name", "url"} {
			if text, ok := v[name].(string); ok {
				return text
			}
		}
	}
	return v
}
