package state

// PlanContainer is what a broker reads of a definition in the registry, at
// DefinitionKey of a plan's id: what the plan's nodes are made from, instead of
// what the broker is configured with.
type PlanContainer struct {
	Image *struct {
		Name string `json:"name"`
	} `json:"image"`
	// ByAdmin says that an admin of the registry put it. Anybody else's is not
	// for databases.
	ByAdmin bool `json:"by_admin"`
}

// ImageOr returns the container's image, or otherwise if it gives none.
func (c PlanContainer) ImageOr(otherwise string) string {
	if !c.ByAdmin || c.Image == nil || c.Image.Name == "" {
		return otherwise
	}
	return c.Image.Name
}
