//! What secrets and configs have in common.

use crate::call::Call;
use shoal_model::object::DataSpec;
use shoal_wire::ApiError;
use shoal_wire::filters::Filters;
use shoal_wire::object::DataBody;

/// Filters of their lists.
pub(crate) const FILTERS: [&str; 4] = ["id", "label", "name", "names"];

/// Whether an object passes the filters of a list.
pub(crate) fn wanted(filters: &Filters, id: &str, spec: &DataSpec) -> bool {
    filters.prefix("id", [id])
        && filters.prefix("name", [spec.name.as_str()])
        && filters.exact("names", &spec.name)
        && filters.labels("label", &spec.labels)
}

/// The object that a request asks for.
pub(crate) async fn asked(call: &mut Call) -> Result<DataSpec, ApiError> {
    let body: DataBody = call.json().await?;
    if let Some(driver) = &body.driver {
        return Err(ApiError::not_implemented(format!("Shoal lacks secret drivers such as {}", driver.name)));
    }
    body.resolve()
}
