package catalog

import "fmt"

// schemaVersion is the dialect that the OSB specification asks for.
const schemaVersion = "http://json-schema.org/draft-04/schema#"

// objectSchema is the JSON schema of an object with these properties alone.
func objectSchema(properties map[string]any) map[string]any {
	if properties == nil {
		properties = map[string]any{}
	}
	return map[string]any{
		"$schema":              schemaVersion,
		"type":                 "object",
		"additionalProperties": false,
		"properties":           properties,
	}
}

// Schema is of what a user may say of a binding.
func (l BindLimits) Schema() map[string]any {
	return objectSchema(map[string]any{
		"read_only": map[string]any{
			"type":        "boolean",
			"default":     false,
			"description": "true: a login that can read every table, those of later, too, and change nothing",
		},
		"lifetime": map[string]any{
			"type":    "string",
			"pattern": lifetimePattern,
			"description": fmt.Sprintf("how long the login lasts, such as 90m, 24h or 30d, from %s to %s; without it, until it is unbound",
				spellLifetime(l.MinLifetime), spellLifetime(l.MaxLifetime)),
		},
	})
}
