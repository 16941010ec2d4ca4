package broker

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/pivotal-cf/brokerapi/v10/domain"
)

// releaseTime is how much longer than an operation may take a platform waits
// for it: an operation that fails takes back what it made, and then says so.
const releaseTime = 5 * time.Minute

// Services returns the catalog, as far as brokerapi v10 knows its fields.
func (b *Broker) Services(context.Context) ([]domain.Service, error) {
	service := domain.Service{
		ID:                   ServiceID,
		Name:                 "postgresql",
		Description:          "Highly available PostgreSQL clusters behind one permanent address",
		Bindable:             true,
		PlanUpdatable:        true,
		InstancesRetrievable: true,
		BindingsRetrievable:  true,
		AllowContextUpdates:  true,
		Tags:                 []string{"postgresql", "postgres", "relational", "sql"},
		Metadata: &domain.ServiceMetadata{
			DisplayName:         b.cfg.Service.DisplayName,
			LongDescription:     b.cfg.Service.LongDescription,
			ProviderDisplayName: b.cfg.Service.Provider,
			DocumentationUrl:    b.cfg.Service.DocumentationURL,
			SupportUrl:          b.cfg.Service.SupportURL,
			ImageUrl:            b.cfg.Service.ImageURL,
		},
	}
	for _, p := range b.cfg.Plans {
		service.Plans = append(service.Plans, b.catalogPlan(p))
	}
	return []domain.Service{service}, nil
}

func (b *Broker) catalogPlan(p Plan) domain.ServicePlan {
	polling := int((max(b.cfg.ProvisionTimeout, b.cfg.longestUpdate()) + releaseTime).Seconds())
	return domain.ServicePlan{
		ID:                     p.ID,
		Name:                   p.Name,
		Description:            p.Description,
		Free:                   domain.FreeValue(p.free()),
		Metadata:               planMetadata(p),
		MaximumPollingDuration: &polling,
		MaintenanceInfo:        b.maintenanceInfo(),
		Schemas: &domain.ServiceSchemas{
			Instance: domain.ServiceInstanceSchema{
				Create: domain.Schema{Parameters: provisionSchema(p)},
				Update: domain.Schema{Parameters: updateSchema(p)},
			},
			Binding: domain.ServiceBindingSchema{Create: domain.Schema{Parameters: bindSchema(b.cfg)}},
		},
	}
}

func planMetadata(p Plan) *domain.ServicePlanMetadata {
	metadata := domain.ServicePlanMetadata{
		DisplayName:        cmp.Or(p.DisplayName, p.Name),
		Bullets:            p.Bullets,
		AdditionalMetadata: p.Metadata,
	}
	if len(metadata.Bullets) == 0 {
		metadata.Bullets = []string{
			fmt.Sprintf("%d PostgreSQL %s", p.Nodes, plural(p.Nodes, "server", "servers")),
			fmt.Sprintf("%d MiB of memory and %.1f cores each", p.MemoryMB, float64(p.MilliCPU)/1000),
			"Permanent host and port",
		}
	}
	for _, c := range p.Costs {
		metadata.Costs = append(metadata.Costs, domain.ServicePlanCost{Amount: c.Amount, Unit: c.Unit})
	}
	return &metadata
}

// catalogPath is where platforms read the catalog.
const catalogPath = "/v2/catalog"

// extendCatalog adds to the catalog what brokerapi v10 has no fields for.
func (b *Broker) extendCatalog(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == catalogPath {
			if known, err := b.Services(r.Context()); err == nil {
				setField(r.Context(), "services", extendServices(known))
			}
		}
		next.ServeHTTP(w, r)
	})
}

// extendedService and extendedPlan are brokerapi's with the fields that it lacks.
type extendedService struct {
	domain.Service
	Plans []extendedPlan `json:"plans"`
}

type extendedPlan struct {
	domain.ServicePlan
	BindingRotatable bool `json:"binding_rotatable"`
}

func extendServices(known []domain.Service) []extendedService {
	var out []extendedService
	for _, s := range known {
		extended := extendedService{Service: s}
		for _, p := range s.Plans {
			extended.Plans = append(extended.Plans, extendedPlan{ServicePlan: p, BindingRotatable: true})
		}
		out = append(out, extended)
	}
	return out
}

// maintenanceInfo is the version of the image that new nodes run.
func (b *Broker) maintenanceInfo() *domain.MaintenanceInfo { return maintenanceInfoOf(b.cfg.Image) }

// maintenanceInfoOf is the version of an image, nil if it has none.
func maintenanceInfoOf(image string) *domain.MaintenanceInfo {
	_, version, ok := strings.Cut(image[strings.LastIndexByte(image, '/')+1:], ":")
	if !ok {
		return nil
	}
	return &domain.MaintenanceInfo{Version: version, Description: "PostgreSQL 17 with Patroni, image " + version}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
