package registry

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	"go.yaml.in/yaml/v3"
)

//go:embed openapi.yml
var openAPISource []byte

// OpenAPI returns the API's description, an OpenAPI 3.1 document in JSON.
var OpenAPI = sync.OnceValue(func() []byte {
	var document map[string]any
	err := yaml.Unmarshal(openAPISource, &document)
	text, errJSON := json.Marshal(document)
	if err != nil || errJSON != nil {
		panic(fmt.Sprintf("openapi.yml: %v %v", err, errJSON)) // it is part of the program
	}
	return text
})

// serveOpenAPI needs no token: it says nothing about the site.
func serveOpenAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	// A client that is gone needs no answer.
	_, _ = w.Write(OpenAPI())
}
