package catalog

import "slices"

// ProvisionSchema is of what a user may say of a new instance of the plan.
func (p Plan) ProvisionSchema() map[string]any {
	properties := p.properties()
	properties["global"] = map[string]any{
		"type": "boolean",
		"description": "true: a port that no other site of the federation gives to anybody else, " +
			"so that the instance can move there with it; it can not be changed later",
	}
	return objectSchema(properties)
}

// UpdateSchema is of what may be changed of an instance of the plan.
func (p Plan) UpdateSchema() map[string]any {
	properties := p.properties()
	text := map[string]any{"type": "string", "minLength": 1}
	properties["backends"] = map[string]any{
		"type": "array", "items": text, "uniqueItems": true, "minItems": 1,
		"description": "the backends that the nodes are to be on, no others: nodes move there with their data, now and only once",
	}
	properties["move_off"] = map[string]any{
		"type": "string", "minLength": 1,
		"description": "a backend that no node is to stay on: what is there moves elsewhere with its data",
	}
	properties["restart"] = map[string]any{
		"type":        "boolean",
		"description": "true: restart the nodes one after the other, the leader last",
	}
	if p.MaxNodes > 1 {
		properties["switchover"] = map[string]any{
			"type":        "boolean",
			"description": "true: have a replica take over the leadership now",
		}
	}
	return objectSchema(properties)
}

// properties are what holds for as long as the user says nothing else.
func (p Plan) properties() map[string]any {
	properties := map[string]any{
		"node_count": map[string]any{
			"type": "integer", "minimum": p.MinNodes, "maximum": p.MaxNodes, "default": p.Nodes,
			"description": "how many PostgreSQL servers the cluster has",
		},
	}
	if p.MaxNodes > 1 {
		properties["synchronous"] = map[string]any{
			"type":    "boolean",
			"default": true,
			"description": "true: a write is acknowledged when a standby has it, too, and is never lost. " +
				"false: writes are faster, and those of the last moments before the leader dies may be lost although they were acknowledged",
		}
	}
	if len(p.Extensions) > 0 {
		properties["extensions"] = map[string]any{
			"type": "array", "uniqueItems": true,
			"items":       map[string]any{"type": "string", "enum": slices.Clone(p.Extensions)},
			"description": "the PostgreSQL extensions that the database has",
		}
	}
	if len(p.Settings) > 0 {
		settings := map[string]any{}
		for _, s := range p.Settings {
			settings[s.Name] = s.schema()
		}
		properties["settings"] = map[string]any{
			"type": "object", "additionalProperties": false, "properties": settings,
			"description": "PostgreSQL settings; those that are not named stay as they are",
		}
	}
	return properties
}
