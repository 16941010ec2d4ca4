package broker

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pivotal-cf/brokerapi/v10/domain"

	"github.com/pgpatron/pgpatron/broker/catalog"
	"github.com/pgpatron/pgpatron/broker/internal/words"
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
	b.engine.View(func() {
		for _, p := range b.cfg.Plans {
			service.Plans = append(service.Plans, b.catalogPlan(p))
		}
	})
	return []domain.Service{service}, nil
}

func (b *Broker) catalogPlan(p catalog.Plan) domain.ServicePlan {
	polling := int((max(b.cfg.ProvisionTimeout, b.cfg.longestUpdate()) + releaseTime).Seconds())
	return domain.ServicePlan{
		ID:                     p.ID,
		Name:                   p.Name,
		Description:            p.Description,
		Free:                   domain.FreeValue(p.CostsNothing()),
		Metadata:               planMetadata(p),
		MaximumPollingDuration: &polling,
		MaintenanceInfo:        maintenanceInfoOf(b.imageOf(p.ID)),
		Schemas: &domain.ServiceSchemas{
			Instance: domain.ServiceInstanceSchema{
				Create: domain.Schema{Parameters: p.ProvisionSchema()},
				Update: domain.Schema{Parameters: p.UpdateSchema()},
			},
			Binding: domain.ServiceBindingSchema{Create: domain.Schema{Parameters: b.cfg.bindLimits().Schema()}},
		},
	}
}

func planMetadata(p catalog.Plan) *domain.ServicePlanMetadata {
	metadata := domain.ServicePlanMetadata{
		DisplayName:        cmp.Or(p.DisplayName, p.Name),
		Bullets:            p.Bullets,
		AdditionalMetadata: p.Metadata,
	}
	if len(metadata.Bullets) == 0 {
		metadata.Bullets = []string{
			fmt.Sprintf("%d PostgreSQL %s", p.Nodes, words.Plural(p.Nodes, "server", "servers")),
			fmt.Sprintf("%d MiB of memory and %.1f cores each", p.MemoryMB, float64(p.MilliCPU)/1000),
			"Permanent host and port",
		}
	}
	for _, c := range p.Costs {
		metadata.Costs = append(metadata.Costs, domain.ServicePlanCost{Amount: c.Amount, Unit: c.Unit})
	}
	return &metadata
}

// CatalogVersion tells which images the catalog's plans have now: all else of
// it stays while the broker runs.
func (b *Broker) CatalogVersion() string {
	var images []string
	b.engine.View(func() {
		for _, p := range b.cfg.Plans {
			images = append(images, b.imageOf(p.ID))
		}
	})
	return strings.Join(images, "\n")
}

// imageOf returns the image of a plan's new nodes: that of the plan's container
// in the registry, or else the configured one.
func (b *Broker) imageOf(plan string) string {
	return b.tables.image(plan, b.cfg.Image)
}

// maintenanceInfoOf is the version of an image, nil if it has none.
func maintenanceInfoOf(image string) *domain.MaintenanceInfo {
	_, version, ok := strings.Cut(image[strings.LastIndexByte(image, '/')+1:], ":")
	if !ok {
		return nil
	}
	return &domain.MaintenanceInfo{Version: version, Description: "PostgreSQL 17 with Patroni, image " + version}
}
