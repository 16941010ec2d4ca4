package registry

import (
	"encoding/json"
	"fmt"
)

// Port is a port inside of a container and where the host has it.
type Port struct {
	Internal int `json:"internal"`
	// Host is the host's port. 0 asks for a dynamic one; an instance tells the
	// real one.
	Host int `json:"host"`
}

// UnmarshalJSON reads the object, or the internal port alone.
func (p *Port) UnmarshalJSON(b []byte) error {
	var internal int
	if json.Unmarshal(b, &internal) == nil {
		*p = Port{Internal: internal}
		return nil
	}
	type plain Port
	return json.Unmarshal(b, (*plain)(p))
}

func isPort(p int) bool { return p >= 1 && p <= 65535 }

func validPorts(field string, ports []Port) error {
	internal, host := map[int]bool{}, map[int]bool{}
	for i, p := range ports {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case !isPort(p.Internal):
			return FieldError{at + ".internal", fmt.Sprintf("must be from 1 to 65535, got %d", p.Internal)}
		case p.Host != 0 && !isPort(p.Host):
			return FieldError{at + ".host", fmt.Sprintf("must be from 0 to 65535, got %d", p.Host)}
		case internal[p.Internal]:
			return FieldError{at + ".internal", fmt.Sprintf("port %d is there twice", p.Internal)}
		case p.Host != 0 && host[p.Host]:
			return FieldError{at + ".host", fmt.Sprintf("port %d is there twice", p.Host)}
		}
		internal[p.Internal], host[p.Host] = true, true
	}
	return nil
}
