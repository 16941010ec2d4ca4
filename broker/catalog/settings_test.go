package catalog

import (
	"strings"
	"testing"
)

func TestSettingValues(t *testing.T) {
	limits := Limits{}.withDefaults(2)
	for _, test := range []struct{ name, given, want, refusal string }{
		{"work_mem", `"32MB"`, "32MB", ""},
		{"work_mem", `"65536B"`, "65536B", ""},
		{"work_mem", `"63kB"`, "", "from 64kB to 256MB"},
		{"work_mem", `"1TB"`, "", "from 64kB to 256MB"},
		{"work_mem", `"32"`, "", "from 64kB to 256MB"},
		{"work_mem", `32`, "", "must be a string"},
		{"work_mem", `"99999999999999999999MB"`, "", "from 64kB to 256MB"},
		{"work_mem", `"8MB; DROP TABLE x"`, "", "from 64kB to 256MB"},
		{"statement_timeout", `"90 s"`, "90 s", ""},
		{"statement_timeout", `"0"`, "", "from 1s to 24h"},
		{"max_connections", `200`, "200", ""},
		{"max_connections", `200.5`, "", "an integer from 20 to 1000"},
		{"max_connections", `2e2`, "", "an integer from 20 to 1000"},
		{"max_connections", `-20`, "", "an integer from 20 to 1000"},
		{"random_page_cost", `1.1`, "1.1", ""},
		{"random_page_cost", `0`, "", "a number from 0.1 to 100"},
		{"random_page_cost", `"NaN"`, "", "a number from 0.1 to 100"},
		{"jit", `true`, "on", ""},
		{"jit", `"yes"`, "", "true or false"},
		{"default_transaction_isolation", `"serializable"`, "serializable", ""},
		{"default_transaction_isolation", `"chaos"`, "", "must be one of read committed, repeatable read, serializable"},
	} {
		setting, _ := limits.setting(test.name)
		got, err := setting.parse([]byte(test.given))
		switch {
		case test.refusal == "" && (err != nil || got != test.want):
			t.Errorf("%s = %s: got %q, %v", test.name, test.given, got, err)
		case test.refusal != "" && (err == nil || !strings.Contains(err.Error(), test.refusal)):
			t.Errorf("%s = %s: got %q, %v, want a refusal with %q", test.name, test.given, got, err, test.refusal)
		}
	}
}

func TestSettingDefinitions(t *testing.T) {
	for _, s := range DefaultSettings() {
		if err := s.validate(); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
	}
	for says, s := range map[string]Setting{
		"is set by the node itself":                       {Name: "log_statement", Type: "enum", Values: []string{"all"}},
		"shared_buffers is set by the node itself":        {Name: "shared_buffers", Type: "memory", Min: "1MB", Max: "1GB"},
		"must be a PostgreSQL setting":                    {Name: "work mem", Type: "boolean"},
		"type: must be":                                   {Name: "work_mem", Type: "size"},
		"enum with values":                                {Name: "x", Type: "enum"},
		"64MB is above 1MB":                               {Name: "work_mem", Type: "memory", Min: "64MB", Max: "1MB"},
		"is not an amount of memory":                      {Name: "work_mem", Type: "memory", Min: "64", Max: "1MB"},
		"only for integers that clusters are made with":   {Name: "wal_buffers", Type: "memory", Min: "1MB", Max: "2MB", Restart: true},
		"restart: only for integers that clusters are ma": {Name: "max_files_per_process", Type: "integer", Min: "1", Max: "2", Restart: true},
	} {
		if err := s.validate(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: got %v, want %q", s, err, says)
		}
	}
}
